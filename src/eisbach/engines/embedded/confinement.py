"""Confinement: a process gives up every folder that is not its own, and dies with its parent.

Landlock (Linux 5.13 or newer) takes rights from the calling thread and from every thread and process it starts later,
for ever: so ``confine`` is called before the first thread is started. What the kernel cannot do is reported, never
raised: ``doctor`` and ``/status`` say so (design section 11). May not know: which process, which folders.
"""

import ctypes
import errno
import os
import signal
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Confinement", "confine", "die_with_parent", "python_paths"]

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What was possible."""

    confined: bool
    abi: int
    """Landlock's version in this kernel; 0: none."""
    detail: str
    """For people: what holds, or why nothing does."""


def python_paths() -> list[Path]:
    """What a Python process reads after its start: interpreter, packages, shared libraries, time zones, resolver."""
    found = {Path(path) for name, path in sysconfig.get_paths().items() if name != "data"}
    found |= {Path(entry) for entry in sys.path if entry} | {Path(sys.prefix), Path(sys.base_prefix)}
    found |= {
        Path(p) for p in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc", "/proc", "/dev")
    }
    return sorted(path for path in found if path.exists() and path != Path("/"))


def confine(*, read: Sequence[Path], write: Sequence[Path]) -> Confinement:
    """Keep this process to these folders from now on.

    Args:
        read: may be read, and executed from.
        write: may be read and written; created if they are not there.
    """
    from landlock import FSAccess, LandlockError, Ruleset, landlock_abi_version  # where there is no confining, none

    reading = FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.EXECUTE
    for folder in write:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        abi = landlock_abi_version()
        ruleset = Ruleset()
        for path in (path for path in read if path.exists()):
            ruleset.allow(path, rules=reading if path.is_dir() else FSAccess.READ_FILE)
        ruleset.allow(Path("/dev/null"), rules=FSAccess.READ_FILE | FSAccess.WRITE_FILE)
        ruleset.allow(*write)
        ruleset.apply()
    except (LandlockError, OSError) as error:
        number = getattr(error, "errno", None)
        what = errno.errorcode.get(number, str(number)) if number is not None else type(error).__name__
        return Confinement(
            confined=False, abi=0, detail=f"not confined: this kernel offers no Landlock ({what}: {error})"
        )
    kept = ", ".join(str(path) for path in write)
    return Confinement(confined=True, abi=abi, detail=f"Landlock {abi}: writes only below {kept}")


def die_with_parent() -> None:
    """Be killed when the parent dies, so that kill -9 of a supervisor leaves nothing behind; Linux only.

    The parent may have died before this call: then there is nobody to wait for, and the process ends itself.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
