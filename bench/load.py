"""A lean closed-loop client: raw HTTP/1.1 on kept connections, one request in flight on each, latencies kept.

Its own CPU is never counted; it is lean so that it leaves the machine to what is measured.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Arrival", "OpenLoop", "Outcome", "percentile", "request", "send_all"]


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
        self._take, self._wanted, self._outcome = take, wanted, outcome
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
        status = answer_in(self._buffer)
        if status is None:
            return
        answer, self._buffer = self._buffer, b""
        if status == self._wanted:
            self._outcome.latencies_s.append(time.perf_counter() - self._at)
            self._next()
        elif status == 503:
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


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that comes at a moment, whatever became of those before it."""

    at_s: float
    """From the start."""
    kind: str
    raw: bytes
    wanted: int


class OpenLoop:
    """Requests sent at their moments over kept connections; a latency begins when the request was due, so that
    waiting for a free connection counts (no coordinated omission).
    """

    def __init__(self, host: str, port: int, arrivals: Sequence[Arrival], *, connections: int) -> None:
        self._place, self._arrivals, self._count = (host, port), arrivals, connections
        self._due: deque[tuple[float, Arrival]] = deque()
        self._free: list[_Kept] = []
        self.latencies_s: dict[str, list[float]] = {}
        self.wrong: dict[str, int] = {}
        """Kind and status -> answers that were not the wanted one."""
        self.left = len(arrivals)
        self._done = asyncio.Event()

    async def run(self, *, within_s: float) -> None:
        """Until every request is answered.

        Raises:
            TimeoutError: some were not.
        """
        loop = asyncio.get_running_loop()
        made = [(await loop.create_connection(lambda: _Kept(self), *self._place))[1] for _ in range(self._count)]
        began = time.perf_counter()
        async with asyncio.timeout(within_s):
            for arrival in self._arrivals:
                if (wait := began + arrival.at_s - time.perf_counter()) > 0.0005:
                    await asyncio.sleep(wait)
                self._due.append((began + arrival.at_s, arrival))
                self.next_for(None)
            await self._done.wait()
        for connection in made:
            connection.transport.close()

    def next_for(self, free: "_Kept | None") -> None:
        """A connection is free, or a request is due."""
        if free is not None:
            self._free.append(free)
        while self._free and self._due:
            self._free.pop().send(*self._due.popleft())

    def answered(self, arrival: Arrival, since: float, status: int) -> None:
        """Count it."""
        if status == arrival.wanted:
            self.latencies_s.setdefault(arrival.kind, []).append(time.perf_counter() - since)
        else:
            name = f"{arrival.kind} {status}"
            self.wrong[name] = self.wrong.get(name, 0) + 1
        self.left -= 1
        if not self.left:
            self._done.set()


class _Kept(asyncio.Protocol):
    def __init__(self, owner: OpenLoop) -> None:
        self._owner, self._buffer = owner, b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._owner.next_for(self)

    def send(self, since: float, arrival: Arrival) -> None:
        self._since, self._arrival = since, arrival
        self.transport.write(arrival.raw)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if (found := answer_in(self._buffer)) is not None:
            self._buffer = b""
            self._owner.answered(self._arrival, self._since, found)
            self._owner.next_for(self)


def answer_in(buffer: bytes) -> int | None:
    """The status when ``buffer`` holds a whole answer."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    status, length = int(buffer[9:12]), 0
    if status not in (204, 304):
        head = buffer[:end].lower() + b"\r\n"
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.index(b"\r\n", at)])
    return status if len(buffer) >= end + 4 + length else None
