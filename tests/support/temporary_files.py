"""Files of the tests lie in memory where it has room: on a disk, each of thousands of commits would wait for it.

pytest reads the name when it makes the first temporary folder.
"""

import os
from contextlib import suppress

_FOLDER = "/dev/shm"
_ROOM = 6 << 30


def _room() -> int:
    """Bytes that can be written there without anything else having to leave the memory."""
    with suppress(ImportError, OSError):
        import psutil

        about = os.statvfs(_FOLDER)
        if os.access(_FOLDER, os.W_OK):
            return min(about.f_bavail * about.f_frsize, psutil.virtual_memory().available)
    return 0


if _room() >= _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _FOLDER)
