"""What stands at an address while its owner is broken on purpose: answers 503, or cuts every body in the middle.

``error``: 503 to everything, with CORS, as a proxy before a dead backend would. ``truncate``: 200, a length of 512 KiB,
a quarter of it, then the connection ends. Rehearsal only; knows no token and serves no file.
"""

import asyncio
import contextlib

__all__ = ["FaultServer"]

_CORS = (
    "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\nAccess-Control-Allow-Methods: *\r\n"
    "Access-Control-Max-Age: 600\r\nTiming-Allow-Origin: *\r\n"
)
_PROMISED = 512 * 1024
_HEAD_BYTES_MAX = 32 * 1024
_CONNECTIONS_MAX = 512


class FaultServer:
    """One broken server on all addresses of one process."""

    def __init__(self, kind: str) -> None:
        """``kind``: ``error`` or ``truncate``."""
        self._kind = kind
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()
        self.requests = 0

    async def start(self, addresses: tuple[str, ...]) -> None:
        """Listen.

        Raises:
            OSError: an address is still taken; try again.
        """
        for address in addresses:
            host, _, port = address.rpartition(":")
            server = await asyncio.start_server(self._serve, host, int(port), limit=_HEAD_BYTES_MAX, reuse_address=True)
            self._servers.append(server)

    async def aclose(self) -> None:
        """Give the addresses back; open connections end."""
        for server in self._servers:
            server.close()
        for writer in list(self._open):
            writer.close()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _CONNECTIONS_MAX:
            writer.close()
            return
        self._open.add(writer)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            self.requests += 1
            method = head.partition(b" ")[0]
            if method == b"OPTIONS":
                writer.write(f"HTTP/1.1 204 No Content\r\n{_CORS}Connection: close\r\n\r\n".encode())
            elif self._kind == "error":
                body = b'{"title":"Service Unavailable","status":503,"code":"fault"}'
                writer.write(
                    f"HTTP/1.1 503 Service Unavailable\r\n{_CORS}Content-Type: application/problem+json\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
            else:
                writer.write(
                    f"HTTP/1.1 200 OK\r\n{_CORS}Content-Type: application/octet-stream\r\n"
                    f"Content-Length: {_PROMISED}\r\nConnection: close\r\n\r\n".encode()
                )
                writer.write(bytes(_PROMISED // 4))
            await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that leaves or sends nonsense is no concern of a broken server
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()
