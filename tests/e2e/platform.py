"""A running Eisbach under test, through its own command line and contracts only."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EISBACH = ROOT / ".venv/bin/eisbach"


@dataclass
class Platform:
    data: Path
    network: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "EISBACH_NETWORK": self.network, "EISBACH_DATA": str(self.data)}

    def eisbach(self, *arguments: str, code: int | None = 0) -> Any:
        done = subprocess.run(
            [EISBACH, *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"eisbach {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def status(self) -> dict[str, Any]:
        return self.eisbach("status", code=None) or {}

    def fault(self, kind: str, target: str) -> None:
        self.eisbach("fault", kind, target)

    def heal(self) -> None:
        self.eisbach("heal")
        self.until("ready again", lambda: self.status().get("ready"), 60)

    def until(self, what: str, probe: Callable[[], Any], seconds: float) -> Any:
        """Ask until there is an answer; the deadline bounds it, so that nothing hangs."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, f"eisbach up ended with {self.process.returncode}:\n{self.tail()}"
            if found := probe():
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.tail()}"
            time.sleep(0.1)

    def copied(self) -> bool:
        """Whether both regions hold the same assets."""
        held = [
            {
                p.name
                for p in (self.data / "regions" / region / "blobs/media/vod").glob("*")
                if (p / "files.json").exists()
            }
            for region in ("eu-central", "eu-west")
        ]
        return bool(held[0]) and held[0] == held[1]

    def kill_supervisor(self) -> None:
        """kill -9; its children must die with it."""
        pids = [p["pid"] for p in self.status()["processes"] if p["pid"]]
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        deadline = time.monotonic() + 10
        while left := [pid for pid in pids if alive(pid)]:
            assert time.monotonic() < deadline, f"children outlived the supervisor: {left}"
            time.sleep(0.05)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def url(self, target: str) -> str:
        return next(p["url"] for p in self.status()["processes"] if p["target"] == target)

    @property
    def front(self) -> str:
        return str(self.status()["front"])

    def origin_log(self, region: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in sorted((self.data / "regions" / region / "agent" / "origin").rglob("access*.log*")):
            for line in path.read_text(errors="replace").splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue  # the line that is being written now
        return found


_USUAL_SHELL = 'ulimit -Sn 1024; umask 022; exec "$@"'
"""1,024 open files, and files that everybody may read: as most systems give; CI machines give more."""


@contextmanager
def running(
    data: Path, *, stage: str, network: str, arguments: tuple[str, ...] = (), inside: tuple[str, ...] = ()
) -> Iterator[Platform]:
    """``eisbach up`` until the block ends; on the way out it must leave nothing behind.

    ``inside``: put before the command, e.g. ``SmallDisk.inside``.
    """
    log = data.parent / f"{data.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*inside, "sh", "-c", _USUAL_SHELL, "sh", EISBACH, "up", "--stage", stage, "--data", str(data), *arguments],
            env={**os.environ, "EISBACH_NETWORK": network},
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    platform = Platform(data, network, process, log)
    try:
        platform.until("ready", lambda: platform.status().get("ready"), 60)
        yield platform
        if process.poll() == -signal.SIGKILL:
            return
        pids = [p["pid"] for p in platform.status().get("processes", []) if p["pid"]]
        process.send_signal(signal.SIGINT)
        process.wait(30)
        left = [pid for pid in pids if alive(pid)]
        assert left == [], f"Ctrl-C left processes behind: {left}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        if sys.exc_info()[0] is not None:
            sys.stderr.write(platform.tail())


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def call(
    method: str, url: str, *, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 5
) -> tuple[int, dict[str, str], Any]:
    """(status, headers with lower-case names, JSON or text); an HTTP error is an answer, a network error raises."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, parsed(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, parsed(error.read())


def parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
