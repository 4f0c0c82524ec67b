"""A lean closed-loop client: raw HTTP/1.1 on kept connections, one request in flight on each, latencies kept.

Its own CPU is never counted; it is lean so that it leaves the machine to what is measured.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Outcome", "percentile", "request", "send_all"]


@dataclass(slots=True)
class Outcome:
    """What came back."""

    latencies_s: list[float] = field(default_factory=list)
    """Of answers with the wanted status."""
    refused: int = 0
    """503: shed, with nothing done; sent again, its CPU counts."""
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def request(method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a request, as an app's HTTP library sends them."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: api.example",
        "User-Agent: eisbach-bench/1",
        "Accept: application/json",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, take: Callable[[], bytes | None], wanted: int, outcome: Outcome) -> None:
        self._take, self._wanted, self._outcome = take, str(wanted).encode(), outcome
        self._buffer, self._sent, self._at = b"", b"", 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        found = self._take()
        if found is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent, self._at = found, time.perf_counter()
        self._transport.write(found)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        status, length = self._buffer[9:12], 0
        if status not in (b"204", b"304"):
            head = self._buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            length = int(head[at : (head + b"\r\n").index(b"\r\n", at)])
        if len(self._buffer) < end + 4 + length:
            return
        answer, self._buffer = self._buffer, b""
        if status == self._wanted:
            self._outcome.latencies_s.append(time.perf_counter() - self._at)
            self._next()
        elif status == b"503":
            self._outcome.refused += 1
            asyncio.get_running_loop().call_later(0.05, self._again)
        else:
            self.done.set_exception(RuntimeError(f"not {self._wanted!r} but {answer[:500]!r}"))

    def _again(self) -> None:
        self._transport.write(self._sent)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


async def send_all(
    host: str, port: int, requests: Iterator[bytes], *, connections: int, wanted: int, within_s: float = 120
) -> Outcome:
    """Send every request once (again after a 503) and wait for all answers.

    Raises:
        RuntimeError: an answer with another status.
    """
    outcome, loop = Outcome(), asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: _Connection(lambda: next(requests, None), wanted, outcome), host, port))[
            1
        ]
        for _ in range(connections)
    ]
    async with asyncio.timeout(within_s):
        await asyncio.gather(*(connection.done for connection in made))
    outcome.seconds = time.perf_counter() - began
    return outcome
