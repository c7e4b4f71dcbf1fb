"""Overlap: what an upstream that goes on with a text says of that text once more."""


class Overlap:
    """Cuts off the beginning of a continuation if it repeats what was said.

    Some servers give back the beginning that they were given, and most lose the white
    space at its end, which is therefore not in the `prefill`, and is cut off too where
    the continuation begins with it. What may become a repetition is held back until it
    is one or is not. It belongs to one thread; its work is linear.
    """

    def __init__(self, text: str) -> None:
        self._said = text
        self.prefill = text.rstrip()
        self._space = text[len(self.prefill) :]  # of which the continuation may begin
        self._repeated = 0  # characters of what was said that have come again
        self._is_over = False

    def beyond(self, text: str) -> str:
        """What more of the continuation adds; it may be empty."""
        if self._is_over:
            return self._without_space(text)
        rest = self._said[self._repeated : self._repeated + len(text)]
        common = _common(rest, text)
        self._repeated += common
        is_all = self._repeated == len(self._said)
        if not is_all and common == len(text):
            return ""
        if self._repeated < len(self.prefill):
            return self.rest() + self._without_space(text[common:])
        self._is_over, self._space = True, ""
        return text[common:]

    def rest(self) -> str:
        """What was held back, if no more of the repetition comes."""
        if self._is_over:
            return ""
        self._is_over = True
        if self._repeated >= len(self.prefill):
            return ""  # all of it but the space was repeated
        return self._without_space(self._said[: self._repeated])

    def _without_space(self, text: str) -> str:
        common = _common(self._space, text)
        self._space = self._space[common:] if common == len(text) else ""
        return text[common:]


def _common(text: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = enumerate(zip(text, other, strict=False))
    shorter = min(len(text), len(other))
    return next((place for place, (a, b) in pairs if a != b), shorter)
