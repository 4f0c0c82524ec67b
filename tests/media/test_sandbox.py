"""What a tool on foreign bytes may not do, tried with a real tool that tries."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from eisbach.kernel.errors import Unavailable
from eisbach.kernel.limits import MIB
from eisbach.media.sandbox import Confinement, Limits, ToolFailed, probe_sandbox, run_tool
from eisbach.media.tools import MediaTools

pytestmark = pytest.mark.processes
PYTHON = Path(sys.executable).resolve()
LIBRARY = Path(os.__file__).resolve().parent


def python(script: str, *arguments: str) -> list[str | Path]:
    """A hostile tool: Python with its own library and nothing else."""
    return [PYTHON, "-I", "-S", "-c", script, *arguments]


def confined(folder: Path, *, limits: Limits | None = None, foreign: bool = True) -> Confinement:
    return Confinement(
        read=[PYTHON.parent.parent, LIBRARY, Path("/usr/local")],
        write=[folder],
        limits=limits or Limits(),
        foreign=foreign,
    )


async def test_this_machine_offers_what_foreign_media_need() -> None:
    offer = await probe_sandbox()

    assert offer.is_enough, offer


async def test_a_tool_reads_and_writes_what_was_named(tmp_path: Path) -> None:
    script = "import sys; open(sys.argv[1], 'w').write('x'); print(open(sys.argv[1]).read())"

    output = await run_tool(python(script, str(tmp_path / "a")), confined(tmp_path))

    assert output.stdout == b"x\n"


async def test_a_tool_cannot_read_a_canary_outside_its_folder(tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "own"
    canary.write_text("secret")
    folder.mkdir()

    with pytest.raises(ToolFailed, match="Permission denied"):
        await run_tool(python("import sys; print(open(sys.argv[1]).read())", str(canary)), confined(folder))


@pytest.mark.parametrize(
    "deed",
    [
        "open(canary, 'w')",
        "__import__('os').unlink(canary)",
        "__import__('os').rename(canary, own + '/c')",
        "__import__('os').symlink(canary, own + '/l'), open(own + '/l').read()",
        "__import__('os').execv('/bin/cat', ['cat', canary])",
        "__import__('os').listdir(__import__('os').path.dirname(canary))",
    ],
)
async def test_a_tool_cannot_change_move_or_reach_around_to_what_is_outside(tmp_path: Path, deed: str) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "own"
    canary.write_text("secret")
    folder.mkdir()

    with pytest.raises(ToolFailed):
        await run_tool(
            python(f"import sys; canary, own = sys.argv[1:]; {deed}", str(canary), str(folder)), confined(folder)
        )

    assert canary.read_text() == "secret"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX"])
async def test_a_tool_cannot_open_a_socket(tmp_path: Path, family: str) -> None:
    with pytest.raises(ToolFailed, match="not permitted"):
        await run_tool(python(f"import socket; socket.socket(socket.{family})"), confined(tmp_path))


async def test_ffmpeg_cannot_reach_a_server_on_loopback(tmp_path: Path, tools: MediaTools) -> None:
    knocks: list[object] = []

    async def on_connect(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.22.9", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ToolFailed):
            await run_tool([tools.ffmpeg, "-v", "error", "-i", f"http://127.0.22.9:{port}/a.mp4"], confined(tmp_path))

    assert knocks == []


async def test_a_tool_has_an_empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EISBACH_SECRET", "x")

    output = await run_tool(python("import os; print(sorted(os.environ))"), confined(tmp_path))

    assert b"EISBACH_SECRET" not in output.stdout
    assert set(eval(output.stdout)) <= {"LC_CTYPE"}  # Python's own coercion of the C locale


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("while True: pass", Limits(wall=timedelta(seconds=0.5)), "time"),
        ("while True: pass", Limits(cpu=timedelta(seconds=1)), "signal"),
        ("import threading; threading.Event().wait()", Limits(stall=timedelta(seconds=0.6)), "stall"),
        ("x = bytearray(1 << 30)", Limits(memory_bytes=512 * MIB), "exit"),
        ("print('x' * (1 << 20))", Limits(output_bytes=1000), "output"),
        ("import sys; open(sys.argv[1] + '/f', 'wb').write(bytes(1 << 21))", Limits(file_bytes=MIB), "exit"),
        (
            "[open('/proc/self/status') or i for i in range(9)]; import os; [os.dup(0) for i in range(99)]",
            Limits(files_open=32),
            "exit",
        ),
    ],
)
async def test_a_tool_is_bounded(tmp_path: Path, script: str, limits: Limits, why: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        await run_tool(python(script, str(tmp_path)), confined(tmp_path, limits=limits))

    assert caught.value.why == why


async def test_a_tool_that_stalls_is_started_anew_and_its_threads_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "import os, sys, threading\nmark = sys.argv[1] + '/begun'\n"
    script += "if not os.path.exists(mark): open(mark, 'w').close(); threading.Event().wait()\nprint('whole')"

    output = await run_tool(
        python(script, str(tmp_path)), confined(tmp_path, limits=Limits(stall=timedelta(seconds=0.6)))
    )

    assert output.stdout == b"whole\n"
    assert "tool_stalled" in (said := capsys.readouterr().out)
    assert "futex" in said


async def test_a_tool_that_works_in_silence_is_no_stall(tmp_path: Path) -> None:
    script = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"

    await run_tool(python(script), confined(tmp_path, limits=Limits(stall=timedelta(seconds=0.3))))


@pytest.mark.parametrize("deed", ["os.fork()", "os.posix_spawn('/bin/true', ['true'], {})"])
async def test_a_tool_cannot_start_another_process(tmp_path: Path, deed: str) -> None:
    with pytest.raises(ToolFailed, match="not permitted"):
        await run_tool(python(f"import os; {deed}"), confined(tmp_path))


async def test_a_tool_may_start_threads(tmp_path: Path) -> None:
    script = "import threading; t = threading.Thread(target=print, args=('hello',)); t.start(); t.join()"

    assert (await run_tool(python(script), confined(tmp_path))).stdout == b"hello\n"


def alive_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def test_cancelling_kills_the_tool_before_it_returns(tmp_path: Path) -> None:
    mark = f"eisbach-cancel-{tmp_path.name}"
    script = "import os, time; open(f'{own}/ready-{os.getpid()}', 'w'); time.sleep(60)"
    task = asyncio.create_task(
        run_tool(python(f"own, mark = {str(tmp_path)!r}, {mark!r}; {script}"), confined(tmp_path))
    )
    async with asyncio.timeout(10):
        while not list(tmp_path.glob("ready-*")):
            await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert alive_with(mark) == []


async def test_a_tool_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    mark = f"eisbach-orphan-{tmp_path.name}"
    tool = f"import time; mark = {mark!r}; open({str(tmp_path / 'ready')!r}, 'w'); time.sleep(60)"
    parent = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom eisbach.media.sandbox import *\n"
        f"c = Confinement(read=[Path({str(PYTHON.parent.parent)!r}), Path({str(LIBRARY)!r})], write=[Path({str(tmp_path)!r})])\n"
        f"asyncio.run(run_tool([{str(PYTHON)!r}, '-I', '-S', '-c', {tool!r}], c))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    async with asyncio.timeout(20):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.02)

    process.kill()
    await process.wait()

    async with asyncio.timeout(5):
        while alive_with(mark):
            await asyncio.sleep(0.02)


async def test_a_tool_may_stop_reading_what_it_is_fed(tmp_path: Path) -> None:
    async def feed() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(100_000)

    output = await run_tool(python("import sys; print(len(sys.stdin.buffer.read(10)))"), confined(tmp_path), feed=feed)

    assert output.stdout == b"10\n"


async def test_foreign_media_are_refused_where_no_sandbox_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without Landlock, namespaces and seccomp, played by a launcher that finds none of them."""
    launcher = tmp_path / "launch.py"
    source = Path("src/eisbach/media/launch.py").read_text()
    none = "def missing(*_: object) -> None:\n    raise LayerMissing('not here')\n_isolate_network = _confine_files = _forbid_calls = missing\n"
    launcher.write_text(source.replace('if __name__ == "__main__":', none + '\nif __name__ == "__main__":'))
    monkeypatch.setattr("eisbach.media.sandbox._LAUNCHER", launcher)

    assert not (await probe_sandbox()).is_enough
    with pytest.raises(Unavailable, match="no sandbox"):
        await run_tool(python("print(1)"), confined(tmp_path))
    trusted = await run_tool(python("print(1)"), confined(tmp_path, foreign=False))
    assert trusted.stdout == b"1\n"


async def test_a_tool_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing-here"):
        await run_tool([tmp_path / "nothing-here"], confined(tmp_path))
