"""Readiness as seen from outside: one small probe per check, no library, because it runs forty times a second at start.

Promises: an answer within the time limit, never an exception. ``None`` means ready; else what was found, for people.
"""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from eisbach.deploy.laptop.topology import Ready
from eisbach.deploy.laptop.words import bounded

__all__ = ["DOOR_CLOSED", "probe"]

DOOR_CLOSED: Final = "nobody listens there"
"""The end of what is found where a connection is refused."""

_ANSWER_BYTES_MAX = 4096
_TOLD_CHARS = 400


async def probe(check: Ready, *, seconds: float) -> str | None:
    """Ask once."""
    try:
        async with asyncio.timeout(seconds):
            if check.kind == "file":
                return None if Path(check.at).exists() else f"no file {check.at} yet"
            return await _answers(check.at)
    except TimeoutError:
        return f"{check.at} did not answer within {seconds:g} s"
    except ConnectionRefusedError:
        return f"{check.at}: {DOOR_CLOSED}"
    except OSError as error:
        return f"{check.at}: {error.strerror or error}"


async def _answers(url: str) -> str | None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        head = await reader.read(_ANSWER_BYTES_MAX)
        words = head.split(b" ", 2)
        if len(words) > 1 and words[1] == b"200":
            return None
        while len(head) < _ANSWER_BYTES_MAX and (more := await reader.read(_ANSWER_BYTES_MAX - len(head))):
            head += more  # what is wrong may come after the head
    finally:
        writer.close()
    body = bounded(head.partition(b"\r\n\r\n")[2].decode(errors="replace"), _TOLD_CHARS)
    status = words[1].decode(errors="replace") if len(words) > 1 else "nothing"
    return f"{url} answered {status}{': ' + body if body else ''}"
