"""Places: how many places of one kind are taken, by class and by caller.

A caller may hold twice as many as he leaves free, less one: 24 of the 36 that his
class may have, if he is alone. So there is always a place left for the next caller,
who need not wait for a chat of the first one to end, and of several who want all of
them each gets the same. (In switches this is known as a dynamic threshold: Choudhury
and Hahne, "Dynamic queue length thresholds", 1998.)
"""

from collections import Counter

from app.gateway.chat import Priority

# At most this share of the places goes to normal and low priority, so that a
# high-priority chat rarely has to evict one that is waiting.
LOWER_SHARE = 0.9
GREED = 2  # places that a caller may hold for each that he leaves free


class Places:
    """Counts places of one kind; it has no lock of its own.

    `most` is how many there are. `caller` is "" where callers are not told apart.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._of_class: Counter[Priority] = Counter()
        self._of_caller: Counter[str] = Counter()

    def held_by(self, caller: str) -> int:
        """How many a caller holds; 0 for everybody where callers are one."""
        return self._of_caller[caller]

    def have_room(self, most: int, priority: Priority, caller: str) -> bool:
        """Whether a caller may take one more now."""
        free = most - self.taken
        if priority is not Priority.HIGH:
            lower = self.taken - self._of_class[Priority.HIGH]
            free = min(free, lower_share(most) - lower)
        return free > 0 and self._is_fair(caller, free)

    def is_share_used(self, most: int, priority: Priority, caller: str) -> bool:
        """Whether a caller may have no more even if lower classes made room."""
        others = sum(n for kind, n in self._of_class.items() if kind <= priority)
        mine = most if priority is Priority.HIGH else lower_share(most)
        free = max(1, mine - others)
        return not self._is_fair(caller, free)

    def take(self, priority: Priority, caller: str) -> None:
        """Count one more."""
        self._count(priority, caller, 1)

    def give_back(self, priority: Priority, caller: str) -> None:
        """Count one less."""
        self._count(priority, caller, -1)

    def _is_fair(self, caller: str, free: int) -> bool:
        return not caller or self._of_caller[caller] < GREED * free - 1

    def _count(self, priority: Priority, caller: str, by: int) -> None:
        self.taken += by
        self._of_class[priority] += by
        if caller:
            self._of_caller[caller] += by
            if not self._of_caller[caller]:
                del self._of_caller[caller]


def lower_share(places: int) -> int:
    """How many of so many places the classes below high may take; at least one."""
    return max(1, int(places * LOWER_SHARE))
