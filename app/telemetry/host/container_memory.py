"""How much memory this process holds, and its container, and how much it may."""

import os
from pathlib import Path

from app.telemetry.host.cgroups import MOUNTS, PROCESS, groups, number, text_of

SHARE = 0.9  # of a container's limit; the rest is for what is under way already
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes that this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def container_limit(
    process: Path = PROCESS, mounts: Path = MOUNTS
) -> tuple[Path, int] | None:
    """The control group with the lowest limit, and the bytes that it should hold.

    None where no group that holds this process has a limit.
    """
    limits = {
        group: number(text_of(group / "memory.max"))
        for group in groups("memory", process, mounts)
    }
    limited = [(limit, group) for group, limit in limits.items() if limit]
    if not limited:
        return None
    limit, group = min(limited)
    return group, int(limit * SHARE)


def container_used(group: Path) -> int:
    """Bytes that a group holds, without the page cache, which the kernel takes back."""
    lines = text_of(group / "memory.stat").splitlines()
    fields = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return number(fields.get("anon", "")) or 0
