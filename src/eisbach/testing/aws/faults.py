"""A door in front of each emulated region that can be broken like the real one.

Promises: without a fault, bytes pass as they are; a fault hits one region, and within it one service or operation when
that is asked; ``statistics`` counts the calls that arrived, so that a storm of retries is seen.
Speaks HTTP/1.1 with content lengths and chunks, no more. May not know: Eisbach. Runs in the emulator's environment.
"""

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MODES", "Door", "Fault"]

MODES: Final = ("cut", "hang", "error", "throttle", "slow", "mute")
"""cut: connections are reset. hang: no answer, ever. error: HTTP 500. throttle: the service's own words for it.
slow: the answer comes ``seconds`` later. mute: the call is done, but its connection is reset before the answer."""

_SCOPE: Final = re.compile(
    rb"Credential=[^/]+/\d{8}/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request", re.IGNORECASE
)
_TARGET: Final = re.compile(rb"\r\nx-amz-target: *\S+?\.(\w+)", re.IGNORECASE)
_ACTION: Final = re.compile(rb"(?:^|&)Action=(\w+)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_EXPECT: Final = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HEAD_BYTES_MAX: Final = 256 * 1024


@dataclass
class Fault:
    """What is wrong with a region."""

    mode: str
    service: str = ""
    """Only calls of it, e.g. ``dynamodb``; empty for all."""
    operation: str = ""
    """Only this one, e.g. ``TransactWriteItems``; empty for all."""
    count: int = -1
    """So many calls, then it is over; below zero for ever."""
    seconds: float = 0.0


class Door:
    """One region's endpoint."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        """``upstream``: where ministack listens."""
        self._upstream = upstream
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()
        """Arrived, by ``service/operation``; retries count."""
        self.broken: Counter[str] = Counter()
        """Hit by a fault, by its mode."""

    async def serve(self, host: str, port: int) -> None:
        """Listen until cancelled."""
        server = await asyncio.start_server(self._connection, host, port, limit=_HEAD_BYTES_MAX)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if _EXPECT.search(head):
                    head = _EXPECT.sub(b"", head)
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request = head + await _body(reader, head)
                answer = await self._broken(head, request)
                if answer is None:
                    upstream = upstream or await asyncio.open_connection(*self._upstream, limit=_HEAD_BYTES_MAX)
                    answer = await _forward(upstream, request)
                    if _CLOSE.search(answer[: answer.find(b"\r\n\r\n") + 2]):
                        upstream[1].close()
                        upstream = None
                    await self._after(head, request)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, _Reset):
            writer.transport.abort()
        finally:
            writer.close()
            if upstream is not None:
                upstream[1].close()

    async def _broken(self, head: bytes, request: bytes) -> bytes | None:
        """What a fault answers in place of the service."""
        service, operation = _call(head, request)
        self.calls[f"{service}/{operation}"] += 1
        fault = self._fault(service, operation, ("cut", "hang", "error", "throttle", "slow"))
        if fault is None:
            return None
        if fault.mode == "cut":
            raise _Reset
        if fault.mode == "hang":
            await asyncio.Event().wait()
        if fault.mode == "slow":
            await asyncio.sleep(fault.seconds)
            return None
        return _throttled(service) if fault.mode == "throttle" else _failed(service)

    async def _after(self, head: bytes, request: bytes) -> None:
        if self._fault(*_call(head, request), ("mute",)) is not None:
            raise _Reset

    def _fault(self, service: str, operation: str, modes: tuple[str, ...]) -> Fault | None:
        for fault in self.faults:
            if fault.mode in modes and fault.service in ("", service) and fault.operation in ("", operation):
                fault.count -= 1
                if fault.count == 0:
                    self.faults.remove(fault)
                self.broken[fault.mode] += 1
                return fault
        return None


class _Reset(Exception):
    """Close the connection without an answer."""


def _call(head: bytes, request: bytes) -> tuple[str, str]:
    scope, target = _SCOPE.search(head), _TARGET.search(head)
    service = scope["service"].decode() if scope else ""
    action = target or _ACTION.search(request[len(head) : len(head) + 4096])
    return service, action[1].decode() if action else head.split(b" ", 1)[0].decode()


async def _forward(upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> bytes:
    reader, writer = upstream
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    if request.startswith(b"HEAD ") or head.split(b" ", 2)[1] in (b"204", b"304"):
        return head
    return head + await _body(reader, head)


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if _CHUNKED.search(head):
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
            body += line + chunk
            if len(chunk) == 2:
                return body
    length = _LENGTH.search(head)
    return await reader.readexactly(int(length[1])) if length else b""


def _throttled(service: str) -> bytes:
    word = {
        "dynamodb": "ProvisionedThroughputExceededException", "sqs": "RequestThrottled", "sns": "Throttling",
        "s3": "SlowDown",
    }.get(service, "ThrottlingException")  # fmt: skip
    return _refusal(service, 503 if service == "s3" else 400, word, "Rate exceeded (fault door)")


def _failed(service: str) -> bytes:
    return _refusal(service, 500, "InternalServerError", "Internal server error (fault door)")


def _refusal(service: str, status: int, code: str, message: str) -> bytes:
    if service in ("sns", "s3"):
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        text = error if service == "s3" else f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"
        kind = "text/xml"
    else:
        text, kind = (
            f'{{"__type":"com.amazonaws.{service}#{code}","message":"{message}"}}',
            "application/x-amz-json-1.0",
        )
    body = text.encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    if service == "sqs":
        head += f"x-amzn-query-error: {code};Sender\r\n"
    return head.encode() + b"\r\n" + body


def serve_in_background(doors: dict[tuple[str, int], Door]) -> None:
    """Run the doors' loop on the caller's thread, for ever."""

    async def run() -> None:
        await asyncio.gather(*(door.serve(*place) for place, door in doors.items()))

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


def statistics(doors: dict[str, Door]) -> dict[str, Any]:
    """By region: calls that arrived and calls that were broken."""
    return {region: {"calls": dict(door.calls), "broken": dict(door.broken)} for region, door in doors.items()}
