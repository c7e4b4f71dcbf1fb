"""Cores: how many processors of the host this process may keep busy."""

import os
from math import ceil
from pathlib import Path

from app.telemetry.host.cgroups import MOUNTS, PROCESS, groups, number, text_of


def usable_cores(process: Path = PROCESS, mounts: Path = MOUNTS) -> int:
    """Whole cores that affinity and control groups allow; at least 1.

    A quota of one and a half makes two: each runs for three quarters of the time.
    """
    quotas = [_quota(group) for group in groups("cpu", process, mounts)]
    return max(1, min([_allowed(), *(ceil(q) for q in quotas if q is not None)]))


def _allowed() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # only Linux has it, and may forbid it
        return os.cpu_count() or 1


def _quota(group: Path) -> float | None:
    """Cores that a group of either version may use; None for any number."""
    limits = text_of(group / "cpu.max") or " ".join(
        text_of(group / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    quota, _, period = limits.partition(" ")
    granted, every = number(quota), number(period)
    return granted / every if granted and every else None
