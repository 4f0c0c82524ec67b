"""Run one outside tool on bytes that a stranger chose.

Promises: an argument list, never a shell; an empty environment; no network; only the named files; bounded memory,
processor time, file size, output, wall time and time without a sign of life; a process group of its own that is
killed as a whole when the time is up, when the caller is cancelled, or when this process dies. What of it the kernel
lacks, ``probe_sandbox`` says, and ``run_tool`` refuses foreign media there unless told otherwise.

Confining is done by ``launch.py``, a small program that becomes the tool. Bubblewrap is not needed for it: Landlock
holds the files, a namespace or the call filter holds the network, and all of it works without root or a helper.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from eisbach.kernel.errors import Retryable, Unavailable
from eisbach.kernel.limits import MIB

__all__ = ["Confinement", "Limits", "SandboxOffer", "ToolFailed", "ToolOutput", "probe_sandbox", "run_tool"]

_logger = structlog.get_logger(__name__)
_LAUNCHER = Path(__file__).with_name("launch.py")
_SANDBOX_REFUSED = 126
_STDERR_KEPT = 8 * 1024
_STALL_LOOKS = 6
_RUNS_MAX = 3
_LOADER = re.compile(rb"/lib[a-z0-9_/-]*/ld-[A-Za-z0-9._-]+")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
# Files must be confined, and either of the two must keep the network away.
_FOREIGN_NEEDS = (("files",), ("network", "calls"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one run."""

    wall: timedelta = timedelta(minutes=10)
    cpu: timedelta = timedelta(minutes=20)
    stall: timedelta = timedelta(minutes=1)
    """Without processor time and without output; a tool that is fed may wait as long for its input as it must."""
    memory_bytes: int = 4096 * MIB
    """Of address space, which is more than is ever touched."""
    file_bytes: int = 8192 * MIB
    """Of any one file it writes."""
    files_open: int = 256
    processes: int = 128
    """Threads, that is; held only in an own user namespace and not for root. Processes are refused anyway."""
    output_bytes: int = 4 * MIB
    """Of standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What one run may touch. Paths must exist; folders include all below them."""

    read: Sequence[Path] = ()
    write: Sequence[Path] = ()
    limits: Limits = field(default_factory=Limits)
    foreign: bool = True
    """Whether the bytes are a stranger's: without a sandbox the run is then refused."""


class SandboxOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine offers: None where a layer is there, else why it is not."""

    network: str | None
    """Own, empty network namespace."""
    files: str | None
    """Landlock."""
    calls: str | None
    """seccomp filter: no sockets, no further processes."""

    @property
    def is_enough(self) -> bool:
        """Whether foreign media may be processed."""
        return self.files is None and (self.network is None or self.calls is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """Of a run that ended with exit code 0."""

    stdout: bytes
    stderr: str
    """The last 8 KiB."""


class ToolFailed(Retryable):
    """A tool ended badly; the caller knows whether its input or the machine is to blame."""

    code = "tool_failed"

    def __init__(
        self, tool: str, *, why: Literal["exit", "signal", "time", "stall", "output"], detail: str, stderr: str
    ) -> None:
        """``detail``: the exit code, signal or bound; ``stderr``: its last words, at most 8 KiB."""
        last = " / ".join(stderr.strip().splitlines()[-3:])[-400:]
        super().__init__(f"{tool} failed ({why}: {detail}){': ' + last if last else ''}")
        self.why, self.stderr = why, stderr


Feed = Callable[[], AsyncIterator[bytes]]


async def run_tool(
    argv: Sequence[str | Path],
    confinement: Confinement,
    *,
    on_line: Callable[[str], None] | None = None,
    feed: Feed | None = None,
) -> ToolOutput:
    """Run ``argv`` to its end; on cancellation the whole process group is killed before this returns.

    A run that is neither fed nor read while it goes on is started anew when it stalls, three times in all: it must
    write the same files again.

    Args:
        argv: first the absolute path of the tool.
        confinement: what it may touch.
        on_line: called with each line of standard output, which is then not collected.
        feed: standard input, else empty; the tool may stop reading early.

    Raises:
        ToolFailed: exit code, signal, time, stall or output bound.
        Unavailable: it could not be started, or this machine has no sandbox for foreign media.
    """
    whole = feed is None and on_line is None
    for runs_left in reversed(range(_RUNS_MAX if whole else 1)):
        try:
            return await _run_once(argv, confinement, on_line, feed)
        except ToolFailed as error:
            if error.why != "stall" or not runs_left:
                raise
            _logger.warning("tool_stalled", error=str(error), runs_left=runs_left)
    raise AssertionError("the last run returns or raises")


async def _run_once(
    argv: Sequence[str | Path], confinement: Confinement, on_line: Callable[[str], None] | None, feed: Feed | None
) -> ToolOutput:
    tool = Path(argv[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCHER), _specification(argv, confinement), "--", *map(str, argv)),
            stdin=asyncio.subprocess.DEVNULL if feed is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{tool} could not be started: {error}") from error
    limits = confinement.limits
    talk = _Conversation(process, tool, limits.output_bytes, on_line)
    try:
        async with asyncio.timeout(limits.wall.total_seconds()):
            await talk.hold(feed, limits.stall)
            code = await process.wait()
    except TimeoutError as error:
        raise ToolFailed(tool, why="time", detail=f"over {limits.wall}", stderr=talk.stderr) from error
    finally:
        await _end(process)
    if code == _SANDBOX_REFUSED and talk.stderr.startswith("sandbox:"):
        raise Unavailable(
            f"foreign media are refused here, the machine offers no sandbox ({talk.stderr.strip()});"
            " see 'eisbach doctor', or set unsafe_media"
        )
    if code < 0:
        raise ToolFailed(tool, why="signal", detail=signal.Signals(-code).name, stderr=talk.stderr)
    if code:
        raise ToolFailed(tool, why="exit", detail=str(code), stderr=talk.stderr)
    return ToolOutput(stdout=bytes(talk.stdout), stderr=talk.stderr)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the process group, the leader's children included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # asyncio has no public way to close pipes that nobody reads any more, and waits for their end before it says that
    # the process has ended.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    await process.wait()


class _Conversation:
    """Feeds and drains one process; bounded."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        tool: str,
        output_bytes: int,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._process, self._tool, self._output_bytes, self._on_line = process, tool, output_bytes, on_line
        self.stdout = bytearray()
        self._stderr = bytearray()
        self._taken = 0

    @property
    def stderr(self) -> str:
        return self._stderr.decode(errors="replace")

    async def hold(self, feed: Feed | None, stall: timedelta) -> None:
        """Until it has closed its outputs and taken its input."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(stall)) if feed is None else None
                talks = [group.create_task(self._read_stdout()), group.create_task(self._read_stderr())]
                if feed is not None:
                    talks.append(group.create_task(self._write(feed)))
                await asyncio.wait(talks)
                if watch is not None:
                    watch.cancel()
        except* ToolFailed as errors:
            raise errors.exceptions[0] from None

    async def _watch(self, stall: timedelta) -> None:
        """The tools have threads that wait for each other, and about one run in some thousands was seen to wait for
        ever, long before any honest bound of its wall time.
        """
        last, same = None, 0
        while (life := _processor_ticks(self._process.pid)) is not None:
            now = (life, self._taken, len(self._stderr))
            same = same + 1 if now == last else 0
            if same >= _STALL_LOOKS:
                threads = _threads(self._process.pid)
                detail = f"no processor time and no output for {stall}; threads: {threads}"
                raise ToolFailed(self._tool, why="stall", detail=detail, stderr=self.stderr)
            last = now
            await asyncio.sleep(stall.total_seconds() / _STALL_LOOKS)

    async def _read_stdout(self) -> None:
        stream, rest = self._process.stdout, b""
        assert stream is not None
        while block := await stream.read(65536):
            self._taken += len(block)
            if self._taken > self._output_bytes:
                detail = f"more than {self._output_bytes} bytes"
                raise ToolFailed(self._tool, why="output", detail=detail, stderr=self.stderr)
            if self._on_line is None:
                self.stdout += block
                continue
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._on_line(line.decode(errors="replace"))

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while block := await stream.read(65536):
            self._stderr = (self._stderr + block)[-_STDERR_KEPT:]

    async def _write(self, feed: Feed) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its exit code says what happened
            async for block in feed():
                stream.write(block)
                await stream.drain()
        stream.close()


def _processor_ticks(pid: int) -> int | None:
    """Of all its threads, from proc(5); None where it is gone, or where the system has no such folder."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])


def _threads(pid: int) -> str:
    """What each thread waits for, for whoever reads the failure: name, state, place in the kernel, system call."""
    found = []
    with contextlib.suppress(OSError):
        for task in sorted(Path(f"/proc/{pid}/task").iterdir())[:16]:
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            words = [(task / name).read_text().strip() for name in ("comm", "wchan", "syscall")]
            found.append(f"{words[0]} {state} {words[1]} call {words[2].split()[0]}")
    return "; ".join(found) or "not to be seen"


def _specification(argv: Sequence[str | Path], confinement: Confinement) -> str:
    limits = confinement.limits
    tool = str(argv[0])
    loader = _LOADER.search(_head(Path(tool)))
    libraries = [p for p in _LIBRARIES if loader and Path(p).exists()]
    return json.dumps(
        {
            "parent": os.getpid(),
            "read": [*map(str, confinement.read), *libraries],
            "write": [str(p) for p in confinement.write],
            "execute": [tool, loader.group().decode()] if loader else [tool],
            "limits": {
                "RLIMIT_AS": limits.memory_bytes,
                "RLIMIT_CPU": int(limits.cpu.total_seconds()),
                "RLIMIT_FSIZE": limits.file_bytes,
                "RLIMIT_NOFILE": limits.files_open,
                "RLIMIT_NPROC": limits.processes,
            },
            "require": _FOREIGN_NEEDS if confinement.foreign else (),
        }
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise Unavailable(f"tool {path} cannot be read: {error}") from error


async def probe_sandbox() -> SandboxOffer:
    """Try every layer in a process of its own.

    Raises:
        Unavailable: not even Python could be started.
    """
    specification = json.dumps(
        {"parent": os.getpid(), "read": ["/"], "write": [], "execute": [], "limits": {}, "require": []}
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCHER), "--probe", specification),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={},
        )
        output, _ = await process.communicate()
        missing = json.loads(output)
    except (OSError, ValueError) as error:
        raise Unavailable(f"the sandbox could not be tried: {error}") from error
    return SandboxOffer(**{layer: missing.get(layer) for layer in ("network", "files", "calls")})
