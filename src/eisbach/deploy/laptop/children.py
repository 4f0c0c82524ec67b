"""Children of the supervisor: spawned through the zygote, awaited by pid, ended by session.

Promises: every child is in a session of its own, so that one signal reaches all of it (nginx workers, ffmpeg); an exit
is told exactly once; orphans that come home (the supervisor is a subreaper) are reaped and, with their session, killed.
Linux only. May not know: what the children are.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eisbach.deploy.laptop.zygote import PR_SET_CHILD_SUBREAPER, prctl
from eisbach.kernel.errors import Unavailable

__all__ = ["Children"]

_UNCLAIMED_MAX = 1024
_ANSWER_S = 30.0
"""A fork takes milliseconds; on a busy machine the zygote may still be importing what it forks."""


class Children:
    """All child processes of this supervisor; one per event loop."""

    def __init__(self, *, logs: Path, environment: dict[str, str], preload: Sequence[str]) -> None:
        """``preload``: kinds whose modules the zygote imports before it forks the first of them."""
        self._logs, self._environment, self._preload = logs, environment, list(preload)
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._unclaimed: dict[int, int] = {}
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0
        self._zygote: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._sessions: set[int] = set()

    @property
    def sessions(self) -> frozenset[int]:
        """Leaders of the sessions that are alive."""
        return frozenset(self._sessions)

    async def open(self) -> None:
        """Become a subreaper and start the zygote."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        logging.getLogger("asyncio").addFilter(_worth_saying)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        await self._start_zygote()

    async def spawn(self, request: dict[str, Any]) -> int:
        """Start a process; its pid, which is also its session.

        Args:
            request: ``name``, ``log``, ``folder``, and ``argv`` or ``run`` with ``file``.

        Raises:
            Unavailable: it could not be started; nothing is left of it.
        """
        async with self._opening:
            if self._zygote is None or not self.is_alive(self._zygote.pid):
                await self._start_zygote()
        self._next += 1
        number = self._next
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "environment": self._environment, **request})
        try:
            async with asyncio.timeout(_ANSWER_S):
                said = await answer
        except TimeoutError:
            said = {"error": f"the zygote did not answer within {_ANSWER_S:.0f} s"}
        finally:
            self._answers.pop(number, None)
        if "pid" not in said:
            raise Unavailable(f"{request['name']} could not be started: {said['error']}")
        pid = int(said["pid"])
        self._sessions.add(pid)
        self._expect(pid)
        return pid

    async def exited(self, pid: int) -> int:
        """Wait for the end of ``pid``; its exit code, or minus the signal that killed it."""
        return await asyncio.shield(self._exits[pid])

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to the whole session's process group of ``pid``; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)

    def is_alive(self, pid: int) -> bool:
        """Whether ``pid`` is a child that has not ended."""
        return pid in self._exits and not self._exits[pid].done()

    async def aclose(self) -> None:
        """End the zygote and kill what is left of every session."""
        for session in self._sessions:
            self.signal(session, signal.SIGKILL)
        if self._reading:
            self._reading.cancel()
        if self._writer:
            self._writer.close()
        if self._zygote is not None and self.is_alive(self._zygote.pid):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self.exited(self._zygote.pid)
            if self.is_alive(self._zygote.pid):
                os.kill(self._zygote.pid, signal.SIGKILL)
        for _ in range(200):  # orphans come home as their parents end; a second bounds it
            self._reap()
            if not _children_of(os.getpid()):
                break
            for pid in _children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.005)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    async def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # -P: the folder this was started in is no source of modules, and no folder that a confined cell may read.
        command = [sys.executable, "-P", "-m", "eisbach.deploy.laptop.zygote", str(theirs.fileno()), str(os.getpid())]
        with (self._logs / "zygote.log").open("ab") as log, theirs:
            self._zygote = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec of a few milliseconds, and its exit is ours to reap
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # from its first moment: Ctrl-C in the terminal is for the supervisor
            )
        self._expect(self._zygote.pid)
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))
        self._send({"began": sorted(self._sessions)})
        self._send({"preload": self._preload})

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                said = json.loads(line)
                if (answer := self._answers.get(said["id"])) and not answer.done():
                    answer.set_result(said)
                elif "pid" in said:  # forked after its start was given up: whoever comes next needs its addresses
                    self.signal(said["pid"], signal.SIGKILL)
                    self._send({"over": said["pid"]})
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"error": "the zygote has ended"})

    def _expect(self, pid: int) -> None:
        if len(self._exits) > _UNCLAIMED_MAX:  # the many dead of a process that crashes for days
            self._exits = {p: f for p, f in self._exits.items() if not f.done()}
        future = self._exits[pid] = asyncio.get_running_loop().create_future()
        if pid in self._unclaimed:
            future.set_result(self._unclaimed.pop(pid))
            self._finish(pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            future = self._exits.get(pid)
            if future is None:
                self._unclaimed[pid] = code
                while len(self._unclaimed) > _UNCLAIMED_MAX:
                    self._unclaimed.pop(next(iter(self._unclaimed)))
            elif not future.done():
                future.set_result(code)
                self._finish(pid)

    def _finish(self, pid: int) -> None:
        """The leader is gone: so is the rest of its session."""
        if self._zygote is not None and pid == self._zygote.pid:
            self._zygote.returncode = self._exits[pid].result()  # reaped here, not by Popen
        if pid in self._sessions:
            self.signal(pid, signal.SIGKILL)
            self._sessions.discard(pid)
            self._send({"over": pid})


def _worth_saying(record: logging.LogRecord) -> bool:
    """Not that asyncio looked for a child which was reaped here: it would stand among the platform's own lines."""
    return "will report returncode 255" not in str(record.msg)


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
