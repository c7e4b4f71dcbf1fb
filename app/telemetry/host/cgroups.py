"""Control groups: the folders in which the kernel tells the limits of this process.

Groups lie within groups, and the limits of all of them hold. What cannot be read, or
is no number, is no limit. See https://docs.kernel.org/admin-guide/cgroup-v2.html and,
for the first version, https://docs.kernel.org/scheduler/sched-bwc.html.
"""

import re
from pathlib import Path

PROCESS = Path("/proc/self/cgroup")
MOUNTS = Path("/sys/fs/cgroup")

_GROUP = re.compile(r"^\d+:([^:\n]*):/(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"[0-9]{1,18}")


def groups(
    controller: str, process: Path = PROCESS, mounts: Path = MOUNTS
) -> set[Path]:
    """The groups that hold this process under one controller, up to the roots.

    `process` is the file that names them, `mounts` the folder of their trees. Some of
    these folders may not exist: a container often sees its own group as the root of
    the tree, whatever the name of the group is.
    """
    found = {mounts, mounts / controller}
    for controllers, name in _GROUP.findall(text_of(process)):
        if controller in (controllers or controller).split(","):
            for tree in _trees(controllers, controller, mounts):
                inner = tree / name
                outward = (inner, *inner.parents)
                found.update(group for group in outward if group.is_relative_to(tree))
    return found


def _trees(controllers: str, controller: str, mounts: Path) -> tuple[Path, Path]:
    """Where the tree of a line may be mounted; version 2 names no controllers."""
    if controllers:
        return mounts / controllers, mounts / controller
    return mounts, mounts / "unified"


def text_of(file: Path) -> str:
    """What is in the file; nothing if it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except (OSError, ValueError):  # ValueError: no name of a file can be like that
        return ""


def number(word: str) -> int | None:
    """The number that a word is; None for `max`, -1 and all else."""
    return int(word) if _NUMBER.fullmatch(word) else None
