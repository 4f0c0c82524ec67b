"""A file's place: this machine's boot and the file's identity on it. Needs no SQLite: functions on AWS have none.

May not know: what the file is.
"""

import ctypes
import struct
from pathlib import Path
from typing import Final

__all__ = ["file_identity", "file_place"]

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
"""Of ``struct statx`` (linux/stat.h): the mask of what is told comes first, the time of birth after 80 bytes."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def file_place(path: Path) -> str:
    """The boot of this machine and the file on it; empty where the system does not tell boots and files apart."""
    try:
        boot, identity = _BOOT.read_text().strip(), file_identity(path)
    except OSError:
        return ""
    return f"{boot} {identity}" if identity else ""


def file_identity(path: Path) -> str:
    """The file on this machine, whichever boot it is; empty where there is none, or files are not told apart.

    A machine that is rolled back as a whole has the same ones again: ``file_place`` tells that.
    """
    try:
        found, born = path.stat(), _born(path)
    except (OSError, AttributeError):
        return ""
    return f"{found.st_dev} {found.st_ino} {born}" if born else ""


def _born(path: Path) -> str:
    """When the file was created; empty where the file system does not say. Its number alone is given again at once when
    a file is removed. Python's ``os.stat`` has no such time on Linux.
    """
    statx = ctypes.CDLL(None, use_errno=True).statx
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, bytes(path), 0, _STATX_BTIME, answer) != 0:
        return ""
    mask, seconds, nanoseconds = struct.unpack_from("=I76xqI", answer)
    return f"{seconds}.{nanoseconds:09d}" if mask & _STATX_BTIME else ""
