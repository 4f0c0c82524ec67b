"""The ground a platform stands on: the data folder and its lock, open files, what an earlier run left, taken ports.

Promises: at most one supervisor a data folder; what a platform writes is its user's alone; a refusal names the process
or the limit that is in the way. May not know: what the processes are.
Linux only (``/proc``).
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eisbach.kernel.errors import Invalid

__all__ = ["Lock", "end_leftovers", "files_lacking", "holder_of", "read_lock", "refuse_taken_ports", "settle"]

_LOCKS = Path("/proc/locks")
_LOOKS_MAX = 1000
_LOOK_S = 0.001
_NAMED = 3
"""Taken addresses that are told with who has them; the rest is counted."""
_FILES_WANTED = 16_384
_FILES_MIN = 4_608
"""An nginx here: 2,048 connections, 2,000 files kept open (``edge``), logs and files of its cache. Most systems give a
shell 1,024 and let it ask for more (``ulimit -Sn``, ``-Hn``)."""


def settle() -> None:
    """Make this process and all it starts fit for a platform: files of its own, enough of them open.

    Raises:
        Invalid: the system does not allow enough open files.
    """
    if lacking := files_lacking():
        raise Invalid(lacking)
    os.umask(0o077)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def files_lacking() -> str:
    """Why a platform would run out of open files here; empty when it would not."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _FILES_MIN:
        return ""
    return (
        f"a process may open at most {hard} files here (ulimit -Hn), and a platform's nginx needs {_FILES_MIN};"
        " raise it in /etc/security/limits.conf, or for a container with --ulimit nofile=16384"
    )


class Lock:
    """A data folder and ``lock`` in it, held by open files, so that the kernel drops both however the supervisor ends.

    The folder is what counts: of the file alone whoever removes it would let a second supervisor in. The file says who
    holds it, and is all that earlier versions hold.
    """

    def __init__(self, root: Path) -> None:
        """Take the folder; make it when there is none.

        Raises:
            Invalid: another supervisor has it, and the message names its pid; or it cannot be written.
        """
        with ExitStack() as taken:
            try:
                root.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
                taken.callback(os.close, folder)
                _hold(folder)
                with tempfile.TemporaryFile(dir=root):
                    pass
                self._file = taken.enter_context((root / "lock").open("a+"))
                _hold(self._file.fileno())
            except BlockingIOError as error:
                pid = _read(root / "lock").get("pid") or _who_locks(root) or "unknown"
                raise Invalid(
                    f"{root} is in use by eisbach up, pid {pid}; stop that one (Ctrl-C there, or kill {pid}), or use"
                    " another --data"
                ) from error
            except OSError as error:
                raise Invalid(
                    f"{root} cannot be a data folder: {error.strerror}; name one that can be written, with --data"
                ) from error
            self._taken = taken.pop_all()

    def write(self, facts: dict[str, Any]) -> None:
        """Say who holds it, for commands and for the next start; whole and at once (one page)."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), **facts}))
        self._file.flush()

    def close(self) -> None:
        """Give it back; the file stays, empty."""
        self._file.truncate(0)
        self._taken.close()


def _hold(descriptor: int) -> None:
    """Lock it for this process alone; commands that look (``read_lock``) share it for a moment, and are waited for.

    Raises:
        BlockingIOError: another process holds it so.
    """
    for _ in range(_LOOKS_MAX):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_LOOK_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_lock(root: Path) -> dict[str, Any] | None:
    """What the supervisor that holds ``root`` says of itself, None when none does; empty when its file says nothing."""
    for path in (root, root / "lock"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(root / "lock")
        finally:
            os.close(descriptor)
    return None


def _who_locks(folder: Path) -> str:
    """The pid, by the kernel's list; empty when that does not say."""
    found = folder.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        rows = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:  # not every container's kernel has it
        return ""
    return next((row[4] for row in rows if row[1] == "FLOCK" and row[5] == place), "")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text() or "{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def end_leftovers(root: Path, sessions: Sequence[int]) -> list[int]:
    """Kill processes of an earlier run of this data folder that outlived it; their pids.

    A process is one of ours when it is in a session that run began *and* has a file of the data folder open: a pid
    may have been given to somebody else since.
    """
    ended: list[int] = []
    for pid in _pids():
        try:
            session = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[3])
        except (OSError, ValueError, IndexError):
            continue
        if session in sessions and _has_open(pid, root):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)
    return ended


def _has_open(pid: int, root: Path) -> bool:
    return any(path == str(root) or path.startswith(f"{root}/") for path in _links(pid))


def _links(pid: int) -> Iterator[str]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            yield str(descriptor.readlink())


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def refuse_taken_ports(wanted: Sequence[tuple[str, str]]) -> None:
    """Check that every ``host:port`` can be had.

    Args:
        wanted: (host:port, target that needs it).

    Raises:
        Invalid: says how many are taken, and of the first few who has them.
    """
    taken: list[tuple[str, str, OSError]] = []
    for address, target in wanted:
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                probe.listen(1)
            except OSError as error:
                taken.append((address, target, error))
    if taken:
        # Finding a holder reads all of /proc: of a whole second platform that would take seconds and fill the screen.
        named = [
            f"{address} ({target}) {_holder(address) or why.strerror or why}" for address, target, why in taken[:_NAMED]
        ]
        more = f"; and {len(taken) - _NAMED} more" if len(taken) > _NAMED else ""
        raise Invalid(
            f"{len(taken)} of {len(wanted)} addresses are taken: {'; '.join(named)}{more}."
            " Stop what has them, or set another EISBACH_NETWORK, e.g. 127.0.7"
        )


def _holder(address: str) -> str:
    host, _, port = address.rpartition(":")
    return holder_of(host, int(port))


def holder_of(host: str, port: int) -> str:
    """``is used by pid 4711 (nginx: master ...)``; empty when nobody listens there."""
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening(Path(f"/proc/net/{name}"), host, port)}
    if not inodes:
        return ""
    for pid in _pids():
        if any(link.startswith("socket:[") and link[8:-1] in inodes for link in _links(pid)):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"is used by pid {pid} ({words[:80]})"
    return "is used by a process of another user"


def _listening(table: Path, host: str, port: int) -> Iterator[str]:
    """Inodes of sockets that listen on the address, or on all addresses, at the port (``/proc/net/tcp``)."""
    mine = socket.inet_aton(host)[::-1].hex().upper()
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        address, _, number = fields[1].partition(":")
        # State 0A is LISTEN; the mapped form of IPv4 in tcp6 ends with the same eight digits.
        if fields[3] == "0A" and int(number, 16) == port and (address[-8:] == mine or not address.strip("0")):
            yield fields[9]
