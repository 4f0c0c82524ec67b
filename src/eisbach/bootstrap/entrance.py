"""Where connections come in: as many as leave the process descriptors for its own files, and more are told so.

uvloop accepts until no descriptor is left. Then SQLite can open nothing, callers hear nothing, and the loop turns as
fast as it can, because the listening socket stays readable (libuv keeps a spare descriptor against that, opens ``/``
for it, and a confined process may not). Promised: a connection over the bound is accepted, its request answered 503
``overloaded`` (shed, never a silence that looks like a dead cell) with what is lacking, and closed; without any
descriptor one such connection at a time gets the spare one; when not even that is free, nothing is accepted for
``PAUSE_S``, and what waits stays in the backlog. The bound follows ``RLIMIT_NOFILE`` as it is now. May not know: what a
call does.
"""

import asyncio
import os
import random
import resource
import socket
from collections.abc import Callable
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from eisbach.cell.problems import problem_answer, problem_of
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.limits import BODY_BYTES_MAX

__all__ = ["FILES_KEPT", "PAUSE_S", "REFUSED_AT_ONCE", "Entrance", "overloaded"]

FILES_KEPT: Final = 128
"""Descriptors that connections leave free: a cell at rest has 34, the rest is for what it opens for a while."""
REFUSED_AT_ONCE: Final = 32
"""Of these, so many for connections that hear the refusal."""
PAUSE_S: Final = 0.02
_ACCEPTED_AT_ONCE: Final = 64
_TOLD_EVERY_S: Final = 60.0
_logger = structlog.get_logger(__name__)


def overloaded(lacking: str) -> ASGIApp:
    """An ASGI application in the place of the process's own; it reads first, so that the answer is not lost."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        read = 0
        while (message := await receive()).get("more_body") and read <= BODY_BYTES_MAX:
            read += len(message["body"])
        if scope["type"] == "http" and message["type"] != "http.disconnect":
            await _answer(send, lacking)

    return refuse


async def _answer(send: Send, lacking: str) -> None:
    why = Overloaded(f"this process takes no more connections: {lacking}; nothing was done, wait before the next try")
    answer = problem_answer(problem_of(why, rng=random.Random()))  # noqa: S311 - jitter
    headers = [*answer.headers, ("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": [*raw, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": answer.body})


class Entrance:
    """A listening socket, and the connections that were accepted from it."""

    def __init__(
        self, listener: socket.socket, serve: Callable[[str], asyncio.Protocol], *, open_now: Callable[[], int]
    ) -> None:
        """Accept from now on.

        Args:
            listener: bound and listening.
            serve: makes the protocol of a connection; a text: refuse what it asks, because that is lacking.
            open_now: how many connections there are.
        """
        self._listener, self._serve, self._open_now = listener, serve, open_now
        self._loop = asyncio.get_running_loop()
        self._opening = set[asyncio.Task[object]]()
        self._spare: int | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._told_at = -_TOLD_EVERY_S
        listener.setblocking(False)
        self._go_on()

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._give_spare()

    async def wait_closed(self) -> None:
        """Until each connection that was accepted is somebody's."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _rest(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE_S, self._go_on)

    def _accept(self) -> None:
        self._take_spare()
        for _ in range(_ACCEPTED_AT_ONCE):
            over = self._over()
            if over >= REFUSED_AT_ONCE:
                self._tell(self._bound())
                return self._rest()
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return None
            except OSError as error:
                self._tell(_no_descriptor(error.strerror or str(error)))
                if not self._give_spare():
                    return self._rest()
                continue
            lacking = self._bound() if over >= 0 else "" if self._spare is not None else _no_descriptor()
            if lacking:
                self._tell(lacking)
            task = self._loop.create_task(self._open(connection, lacking))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        return None

    async def _open(self, connection: socket.socket, lacking: str) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._serve(lacking), connection)
        except OSError:  # the caller has gone already
            connection.close()

    def _over(self) -> int:
        """By how many the connections are over their bound; below 0 there is room."""
        most = _files_max()
        if most == resource.RLIM_INFINITY:
            return -1
        return self._open_now() + len(self._opening) - max(0, most - FILES_KEPT)

    def _bound(self) -> str:
        kept = f"{FILES_KEPT} files are kept for its own, and it may open {_files_max()} in all (ulimit -n)"
        return f"{self._open_now()} are open, {kept}"

    def _take_spare(self) -> None:
        if self._spare is None:
            try:
                self._spare = os.dup(self._listener.fileno())
            except OSError:  # while there is none, whoever comes is refused
                return

    def _give_spare(self) -> bool:
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        return True

    def _tell(self, lacking: str) -> None:
        if self._loop.time() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = self._loop.time()
            _logger.warning("refusing_connections", lacking=lacking, connections=self._open_now())


def _files_max() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _no_descriptor(said: str = "Too many open files") -> str:
    return f"no file descriptor is left of the {_files_max()} that it may open (ulimit -n): {said}"
