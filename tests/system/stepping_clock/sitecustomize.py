"""Found by every Python that has this folder on its path: a wall clock to be set.

`time.time` is what it was, plus the seconds in the file that CLOCK_STEP_FILE
names. It is changed before anything else is imported.
"""

import mmap
import os
import struct
import time

_SECONDS = struct.Struct("d")
_file = os.environ.get("CLOCK_STEP_FILE")

if _file:
    with open(_file, "r+b") as _opened:
        _step = mmap.mmap(_opened.fileno(), _SECONDS.size)
    _true_time, _true_time_ns = time.time, time.time_ns

    def _stepped():
        return _true_time() + _SECONDS.unpack_from(_step)[0]

    def _stepped_ns():
        return _true_time_ns() + int(_SECONDS.unpack_from(_step)[0] * 1e9)

    time.time, time.time_ns = _stepped, _stepped_ns
