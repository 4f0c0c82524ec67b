"""Requests that no client library sends: what a server answers before, or instead of, looking at a path."""

import asyncio
from dataclasses import dataclass

__all__ = ["MALFORMED", "Raw", "send_raw"]

_HOST = b"Host: a\r\n"
_BAD_CHUNK = b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n"

MALFORMED: dict[str, bytes] = {
    "garbage": b"GARBAGE\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n",
    "unknown version": b"GET / HTTP/3.7\r\n" + _HOST + b"\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "length that is none": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Content-Length: x\r\n\r\n",
    "two lengths": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: rot13\r\n\r\n",
    "chunks in 1.0": b"POST /v1/x HTTP/1.0\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST /v1/telemetry HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk to the console": b"POST /ops/weights HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "large post to the console": b"POST /ops/weights HTTP/1.1\r\n" + _HOST + b"Content-Length: 99999999\r\n\r\n",
    "bad chunk of an upload": b"PUT /studio/uploads/u1/content HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk to a page": b"GET /v1/de/titles/t-1 HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk to a segment": b"GET /t/x/vod/a/v/1.m4s HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk to a poster": b"GET /img/a/poster.jpg HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk to a manifest": b"GET /t/x/vod/a/master.m3u8 HTTP/1.1\r\n" + _HOST + _BAD_CHUNK,
    "bad chunk of a pull": (
        b"POST /peer/cells/c1/pull HTTP/1.1\r\nAuthorization: Bearer -peer_token\r\n" + _HOST + _BAD_CHUNK
    ),
    "trace": b"TRACE / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "connect": b"CONNECT a:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "small method": b"get / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "out of the root": b"GET /../../etc/passwd HTTP/1.1\r\n" + _HOST + b"\r\n",
    "zero byte": b"GET /%00 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "half an escape": b"GET /%z HTTP/1.1\r\n" + _HOST + b"\r\n",
    "control byte": b"GET /\x01 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "header without a colon": b"GET /nowhere HTTP/1.1\r\n" + _HOST + b"nonsense\r\n\r\n",
    "zero in a header": b"GET /nowhere HTTP/1.1\r\n" + _HOST + b"X: a\x00b\r\n\r\n",
    "long path": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "long header": b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"y" * 9000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + _HOST + b"".join(b"X%d: %s\r\n" % (n, b"y" * 4000) for n in range(12)) + b"\r\n",
    "absurd length": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Content-Length: 99999999999\r\n\r\n",
    "post to the root": b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 0\r\n\r\n",
    "large post to the root": b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 99999999\r\n\r\n",
    "delete of an asset": b"DELETE /assets/app-1.js HTTP/1.1\r\n" + _HOST + b"\r\n",
    "range beyond the end": b"GET /assets/app-1.js HTTP/1.1\r\n" + _HOST + b"Range: bytes=900000-\r\n\r\n",
    "asset that is not there": b"GET /assets/none.js HTTP/1.1\r\n" + _HOST + b"\r\n",
    "asset with another tag": b"GET /assets/app-1.js HTTP/1.1\r\n" + _HOST + b'If-Match: "no"\r\n\r\n',
    "folder": b"GET /assets/ HTTP/1.1\r\n" + _HOST + b"\r\n",
    "segment with a body": b"GET /t/x/vod/a/v/1.m4s HTTP/1.1\r\n" + _HOST + b"Content-Length: 99\r\n\r\n",
    "poster with a body": b"GET /img/a/poster.jpg HTTP/1.1\r\n" + _HOST + b"Content-Length: 99\r\n\r\n",
    "strange expectation": b"POST /v1/x HTTP/1.1\r\n" + _HOST + b"Expect: nothing\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Raw:
    """What came back; status 0: the connection was closed without a word."""

    status: int
    kind: str
    body: bytes


async def send_raw(host: str, port: int, raw: bytes) -> Raw:
    """One request on a connection of its own; half a second of silence ends the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(raw)
    found = b""
    try:
        async with asyncio.timeout(3):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), None)
            found = await (reader.readexactly(length) if length is not None else reader.read())
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        head = b""
    finally:
        writer.close()
    if not head:
        return Raw(0, "", b"")
    kind = next((line[13:].strip() for line in lines if line.startswith("content-type:")), "")
    return Raw(int(lines[0].split()[1]), kind, found)
