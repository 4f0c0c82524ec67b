"""A real nginx on a prefix of its own, and cells that answer as they are told and remember what they were asked."""

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eisbach.bootstrap.tools import locate_tools
from eisbach.edge.fragments import Process
from eisbach.settings import Settings

NGINX = str(locate_tools(Settings()).nginx)
NETWORK = "127.0.24"
PROCESS = Process(user=pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else "")


def workers_of(master: int) -> list[int]:
    """Pids of the workers alone: the loader of a cache ends when it likes, and a fork has no title yet."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(p) for p in children if _title(int(p)).startswith("nginx: worker process")]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@dataclass
class Nginx:
    prefix: Path
    process: subprocess.Popen[bytes]

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    @property
    def workers(self) -> list[int]:
        return workers_of(self.process.pid)

    def access(self) -> str:
        return (self.prefix / "access.log").read_text(errors="replace")

    def logs(self) -> str:
        return "".join(p.read_text(errors="replace") for p in self.prefix.glob("*.log"))


@asynccontextmanager
async def nginx(prefix: Path, config: str, *, port: int, host: str = f"{NETWORK}.1") -> AsyncIterator[Nginx]:
    prefix.mkdir(parents=True, exist_ok=True)
    (prefix / "nginx.conf").write_text(config)
    # `-p` wants the slash; standard error before the configuration is read goes to the same log.
    command = [NGINX, "-p", f"{prefix}/", "-e", "error.log", "-c", "nginx.conf"]
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=prefix)
    try:
        await listening(host, port)
        yield Nginx(prefix, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(3)


async def listening(host: str, port: int) -> None:
    async def there() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

    await until(there, what=f"{host}:{port} listens", seconds=20)


async def until(probe: Callable[[], object], *, what: str, seconds: float = 5) -> object:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = probe()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    port: int,
    target: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    host: str = f"{NETWORK}.1",
) -> Got:
    """One request over a bare socket, its bytes exactly as given."""
    reader, writer = await asyncio.open_connection(host, port)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    try:
        head, rest = await asyncio.wait_for(answer(reader, bodyless=method == "HEAD"), 15)
    finally:
        writer.close()
    first, *others = head.decode("latin-1").split("\r\n")
    found: dict[str, str] = {}
    for line in others:
        name, _, value = line.partition(": ")
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    if found.get("transfer-encoding") == "chunked":
        rest = dechunked(rest)
    return Got(int(first.split()[1]) if head else 0, found, rest)


async def answer(reader: asyncio.StreamReader, *, bodyless: bool) -> tuple[bytes, bytes]:
    """Head and body, without waiting for the close where the length is told."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except asyncio.IncompleteReadError as error:
        return error.partial, b""
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if length and not bodyless:
        return head, await reader.readexactly(int(length[0].split(b":")[1]))
    return head, b"" if bodyless else await reader.read()


def dechunked(raw: bytes) -> bytes:
    out = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        n = int(size, 16)
        if n == 0:
            break
        out, raw = out + raw[:n], raw[n + 2 :]
    return out


@dataclass
class Answering:
    """What a stub cell does with a request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    silent: bool = False
    """Reads, never answers."""
    drop: bool = False
    """Reads, then closes without an answer."""
    delay_s: float = 0.0
    torn: bool = False
    """Tells the whole length, sends half of the body, then closes - or, with ``silent``, nothing more."""


@dataclass
class Stub:
    """A cell, or another region's door, that is told what to do."""

    name: str
    host: str
    port: int
    behave: Answering = field(default_factory=Answering)
    asked: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 2)
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.strip().split("\r\n")
        heads = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        method, target, _ = first.split(" ")
        body = await reader.readexactly(int(heads.get("content-length", "0")))
        self.asked.append(f"{method} {target}")
        self.heads.append(heads)
        self.bodies.append(body)
        told = self.behave
        if told.delay_s:
            await asyncio.sleep(told.delay_s)
        if told.silent and not told.torn:
            await reader.read()
            return False
        if told.drop:
            return False
        answer = {"Content-Type": "application/json", "Eisbach-Cell": self.name, **told.headers}
        lines = [f"HTTP/1.1 {told.status} X", f"Content-Length: {len(told.body)}"]
        lines += [f"{k}: {v}" for k, v in answer.items()]
        if told.torn:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + told.body[: len(told.body) // 2])
            await writer.drain()
            await (reader.read() if told.silent else asyncio.sleep(0.05))
            return False
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else told.body))
        await writer.drain()
        return True


@asynccontextmanager
async def stubs(addresses: dict[str, str]) -> AsyncIterator[dict[str, Stub]]:
    """A stub per name and ``host:port``, stopped however the block ends."""
    found = {name: Stub(name, at.split(":")[0], int(at.split(":")[1])) for name, at in addresses.items()}
    try:
        for stub in found.values():
            await stub.start()
        yield found
    finally:
        for stub in found.values():
            await stub.stop()


def query(target: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
