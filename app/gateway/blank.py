"""Blank: texts that show nothing to whoever reads them."""

# What takes no room or leaves no ink, beside white space: zero-width and directional
# marks, fillers, a blank of Braille.
_UNSEEN_RANGES = (
    "0-20 7F-A0 AD-AD 34F-34F 61C-61C 115F-1160 1680-1680 17B4-17B5 180B-180F"
    " 2000-200F 2028-202F 205F-206F 2800-2800 3000-3000 3164-3164"
    " FE00-FE0F FEFF-FEFF FFA0-FFA0 FFF9-FFFB E0000-E007F E0100-E01EF"
)
_UNSEEN = frozenset(
    chr(code)
    for first, last in (span.split("-") for span in _UNSEEN_RANGES.split())
    for code in range(int(first, 16), int(last, 16) + 1)
)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing to whoever reads it."""
    return _UNSEEN.issuperset(text)
