"""The zygote: one warm interpreter from which every process of the laptop is forked.

Why: importing what a cell needs takes half a second of CPU and 60 MB; twenty processes on two cores would need ten
seconds and a gigabyte. Forked from here they share both (measured: docs/figures.md).

How: the supervisor sends a JSON line, the zygote forks twice and the grandchild, adopted by the supervisor (a
subreaper), answers with its pid once it is safe: own session, ``PR_SET_PDEATHSIG`` towards the supervisor. So the death
of the zygote hurts nobody, and the supervisor waits for its children itself. When the supervisor is gone (end of file),
the zygote kills what is left in the sessions it began: nginx workers and ffmpeg have parents of their own and would
survive a ``kill -9`` of the supervisor.

May not know: asyncio (no loop and no thread may exist before a fork), what the processes do.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

__all__ = ["PR_SET_CHILD_SUBREAPER", "main", "prctl"]

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
_ADOPTION_S = 5.0


def prctl(option: int, argument: int | bytes) -> None:
    """Linux ``prctl`` with one argument.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def main() -> None:
    """``python -m eisbach.deploy.laptop.zygote FD SUPERVISOR_PID``: serve until the socket ends."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    supervisor = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_NAME, b"eisbach-zygote")
    sessions: set[int] = set()
    buffered = b""
    warm = False
    while received := _receive(channel):
        *lines, buffered = (buffered + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "preload" in request:
                warm = warm or _warm(request["preload"])
            elif "over" in request:
                sessions.discard(request["over"])
            elif "began" in request:
                sessions.update(request["began"])
            else:
                answer = _spawn(request, channel, supervisor)
                if "pid" in answer:
                    sessions.add(answer["pid"])
                channel.sendall(json.dumps({"id": request["id"], **answer}).encode() + b"\n")
    for session in sessions:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1 << 16)
    except ConnectionError:
        return b""


def _warm(kinds: list[str]) -> bool:
    from eisbach.bootstrap.kinds import preload

    for failure in preload(kinds):
        sys.stderr.write(f"zygote: {failure}\n")
    gc.collect()
    gc.freeze()  # what is here now is never collected, so that the collector does not unshare its pages
    return True


def _spawn(request: dict[str, Any], channel: socket.socket, supervisor: int) -> dict[str, Any]:
    """Fork twice; the pid of the adopted grandchild, or why not."""
    reading, writing = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return {"error": str(error)}
    if middle == 0:
        os.close(reading)
        try:
            if os.fork() == 0:
                channel.detach()
                os.close(int(sys.argv[1]))
                _become(request, writing, supervisor)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(middle, 0)
    ready, _, _ = select.select([reading], [], [], _ADOPTION_S + 1)
    said = os.read(reading, 4096) if ready else b""
    os.close(reading)
    return json.loads(said) if said else {"error": "the forked process ended before it was set up"}


def _become(request: dict[str, Any], writing: int, supervisor: int) -> None:
    """In the grandchild: make it safe, tell the pid, then be the process; never returns."""
    code = 70
    try:
        os.setsid()
        prctl(PR_SET_NAME, request["name"].encode()[-15:])
        deadline = time.monotonic() + _ADOPTION_S
        while os.getppid() != supervisor:  # the parent of the fork is ending right now
            if time.monotonic() > deadline:
                os.write(writing, json.dumps({"error": f"not adopted by supervisor {supervisor}"}).encode())
                return
            time.sleep(0.0005)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            _redirect(Path(request["log"]))
            os.chdir(request["folder"] or "/")
        except OSError as error:  # a folder that may not be entered, a disk that is gone: its path and why
            os.write(writing, json.dumps({"error": str(error)}).encode())
            return
        os.environ.update(request.get("environment", {}))
        os.write(writing, json.dumps({"pid": os.getpid()}).encode())
        os.close(writing)
        if argv := request.get("argv"):
            os.execvp(argv[0], argv)  # noqa: S606 - our own argument list
        from eisbach.bootstrap.kinds import run_process

        code = run_process(request["run"], Path(request["file"]))
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of this process: say it in its log, end with a code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # not sys.exit: the frames below belong to the zygote


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)


if __name__ == "__main__":
    main()
