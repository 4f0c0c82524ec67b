"""A PostgreSQL server of our own for a test or a benchmark: in a folder of its own, on a Unix socket, gone at the end.

Durable as in production (fsync, synchronous_commit, full_page_writes are on). The rest is tuned for many small writes
on two cores; README.md says why. The server refuses to run as root: then it runs as the ``postgres`` user.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "programs", "running"]

SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": "",
    "shared_buffers": "512MB", "max_connections": "50", "wal_level": "minimal", "max_wal_senders": "0",
    "max_wal_size": "4GB", "checkpoint_timeout": "15min", "checkpoint_completion_target": "0.9", "wal_buffers": "16MB",
    "wal_compression": "lz4", "jit": "off", "track_io_timing": "off", "random_page_cost": "1.1",
    "autovacuum_naptime": "10s", "log_min_messages": "fatal",
}  # fmt: skip
READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    dsn: str
    pid: int
    """Of the postmaster; every other process of the server is its child."""


def programs() -> Path:
    """The folder of ``initdb`` and ``postgres``: Debian keeps them off the PATH.

    Raises:
        RuntimeError: there is no server; says how to get one.
    """
    beside = [Path(found).resolve().parent for name in ("postgres",) if (found := shutil.which(name))]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in (*debian, *beside):
        if (folder / "initdb").exists():
            return folder
    raise RuntimeError(
        "there is no PostgreSQL server here; run .ci/postgresql, or install one (apt-get install postgresql)"
    )


@contextmanager
def running() -> Iterator[Server]:
    """A fresh, empty server."""
    # Not below a caller's folder: the postgres user must be able to walk there.
    folder = Path(tempfile.mkdtemp(prefix="eisbach-postgres-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user = {"user": user, "group": user} if os.geteuid() == 0 else {}
    if as_user:
        shutil.chown(folder, user, user)
    bin_folder, data = programs(), folder / "data"
    try:
        subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", "app", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user,
        )  # fmt: skip
        options = [option for name, value in SETTINGS.items() for option in ("-c", f"{name}={value}")]
        command = [bin_folder / "postgres", "-D", data, "-k", folder, *options]
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, **as_user)
        try:
            _wait(process, bin_folder, folder)
            yield Server(f"postgresql://app@/postgres?host={folder}", process.pid)
        finally:
            process.terminate()  # a smart shutdown: waits for sessions, which their owners have closed
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(2)  # fast: ends sessions
                process.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], bin_folder: Path, folder: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while subprocess.run([bin_folder / "pg_isready", "-q", "-h", folder], check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL did not start within {READY_WITHIN_S:.0f} s (exit code {process.poll()})")
        time.sleep(0.05)
