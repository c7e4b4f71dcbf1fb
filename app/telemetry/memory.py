"""How much memory this process holds, and its container, and how much it may."""

import os
from pathlib import Path

SHARE = 0.9  # of a container's limit; the rest is for what is under way already
PAGE = os.sysconf("SC_PAGE_SIZE")
CGROUP = Path("/sys/fs/cgroup")


def resident() -> int:
    """Bytes that this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def container_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes that all processes of this container should hold; None without a limit.

    See https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files.
    """
    try:
        text = (cgroup / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(int(text) * SHARE) if text.isdigit() else None


def container_used(cgroup: Path = CGROUP) -> int:
    """Bytes that they hold, without the page cache, which the kernel takes back."""
    try:
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split() for line in lines)
    return int(fields.get("anon", 0))
