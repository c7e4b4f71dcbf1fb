"""Chance: whether a request leaves its answer to chance, so that each is another one.

Who asks for several answers, or tunes the sampling without a seed, wants a new one.
Who says nothing of it takes what there is.
"""

from collections.abc import Mapping
from typing import Any

SEVERAL = ("n", "best_of")
# Fields by which servers are told how to sample, with the value that leaves none.
SAMPLING: Mapping[str, float] = {
    "top_p": 1,
    "top_k": 1,
    "min_p": 1,
    "typical_p": 1,
    "top_a": 1,
    "mirostat": 0,
    "xtc_probability": 0,
}
SEEDS = ("seed", "random_seed")


def is_left_to_chance(extra: Mapping[str, Any]) -> bool:
    """Whether the fields of a request say that its answer is a matter of chance."""
    if any(extra.get(name) not in (None, 1) for name in SEVERAL):
        return True
    if any(extra.get(name) is not None for name in SEEDS):
        return False
    temperature = extra.get("temperature")
    if temperature is not None:
        return temperature is False or temperature != 0
    return any(extra.get(name) not in (None, one) for name, one in SAMPLING.items())
