"""A cell as a real process: killed under writes, stopped politely, confined to its own folder."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from kit import DEMO, catalogue_envelope, device_of, document, make_secrets

from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, python_paths
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.store import open_store
from eisbach.settings import CellProcess

pytestmark = pytest.mark.processes
RUN = "import sys; from pathlib import Path; from eisbach.bootstrap.kinds import run_process; sys.exit(run_process('cell', Path(sys.argv[1])))"


async def prepared(folder: Path, *, port: int) -> tuple[CellProcess, Path]:
    """Secrets, a hub that holds the catalogue, and the process document."""
    process = document(folder, port=port)
    Path(process.secrets).write_bytes(msgspec.json.encode(make_secrets()["eu-central"]))
    hub = Path(process.hub.removeprefix("sqlite:"))
    hub.parent.mkdir(parents=True)
    log = await SqliteEventLog(hub, clock=SystemClock()).open()
    await log.append(catalogue_envelope(*DEMO), expected=0)
    await log.aclose()
    path = folder / "cell.json"
    path.write_bytes(msgspec.json.encode(process))
    return process, path


@contextlib.asynccontextmanager
async def started(path: Path, process: CellProcess) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that is ready and knows the catalogue; killed at the end if it still runs."""
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdout=subprocess.DEVNULL) as child:
        try:
            async with aiohttp.ClientSession() as session, asyncio.timeout(30):
                while child.poll() is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"http://{process.host}:{process.port}/v1/de/titles/tears") as answer:
                            if answer.status == 200:
                                break
                    await asyncio.sleep(0.05)
            yield child
        finally:
            if child.poll() is None:
                child.kill()


async def sign_in(session: aiohttp.ClientSession, base: str, skip: int) -> dict[str, str]:
    device = device_of([0, 1, 2, 3], skip=skip)
    async with session.post(f"{base}/v1/auth/anonymous", json={"device_id": device, "mkt": "de"}) as answer:
        found = await answer.json()
        return {"Authorization": f"Bearer {found['access']}", "Eisbach-Slot": found["slot"]}


async def write_until_it_dies(base: str, skip: int, acknowledged: set[int], numbers: list[int]) -> None:
    """One viewer that writes a position after the other; a position is its request's id."""
    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            headers = await sign_in(session, base, skip)
            while True:
                numbers[0] += 1
                number = numbers[0]
                body = {"pos_s": number / 10, "dur_s": 43_200}
                async with session.put(f"{base}/v1/me/progress/tears", json=body, headers=headers) as answer:
                    if answer.status == 204:
                        acknowledged.add(number)


async def write_once(session: aiohttp.ClientSession, base: str) -> None:
    """One position."""
    headers = await sign_in(session, base, 0)
    async with session.put(f"{base}/v1/me/progress/tears", json={"pos_s": 1, "dur_s": 9}, headers=headers) as answer:
        assert answer.status == 204


async def written(process: CellProcess) -> set[int]:
    """Every position in the op log, read from the file of the dead process."""
    found: set[int] = set()
    async with open_store(Path(process.folder) / "store.db", region="eu-central", clock=SystemClock()) as store:
        lsn = 0
        while entries := await store.log_after(lsn, limit=1000):
            lsn = entries[-1].lsn
            for entry in entries:
                event = entry.op.event
                if event is not None and event.type == "tv.playback.progress.recorded.v1":
                    found.add(round(msgspec.json.decode(event.data)["pos_s"] * 10))
    return found


@pytest.mark.timeout(180)
async def test_after_kill_9_under_writes_every_acknowledged_write_is_there(tmp_path: Path) -> None:
    process, path = await prepared(tmp_path, port=8111)
    base = f"http://{process.host}:{process.port}"
    acknowledged: set[int] = set()
    numbers = [0]
    for kill in range(3):
        async with started(path, process) as child:
            writers = [asyncio.create_task(write_until_it_dies(base, n, acknowledged, numbers)) for n in range(8)]
            async with asyncio.timeout(20):
                while len(acknowledged) < 100 * (kill + 1):
                    await asyncio.sleep(0.005)
            child.send_signal(signal.SIGKILL)
            await asyncio.gather(*writers)

    found = await written(process)

    assert len(acknowledged) >= 300
    assert acknowledged - found == set()


async def test_told_to_stop_it_answers_what_it_has_begun_and_leaves_a_clean_file(tmp_path: Path) -> None:
    process, path = await prepared(tmp_path, port=8112)
    base = f"http://{process.host}:{process.port}"
    acknowledged: set[int] = set()
    async with started(path, process) as child:
        writers = [asyncio.create_task(write_until_it_dies(base, n, acknowledged, [n * 10_000])) for n in range(4)]
        async with asyncio.timeout(20):
            while len(acknowledged) < 50:
                await asyncio.sleep(0.005)
        child.terminate()
        code = await asyncio.to_thread(child.wait, 10)
        await asyncio.gather(*writers)

    assert code == 0
    assert acknowledged - await written(process) == set()
    assert not (Path(process.folder) / "store.db-wal").exists(), "SQLite removes it when the last connection closes"


@contextlib.asynccontextmanager
async def stopped_and_replaced(
    child: subprocess.Popen[bytes], replacement: contextlib.AbstractAsyncContextManager[subprocess.Popen[bytes]]
) -> AsyncIterator[None]:
    """Stop ``child`` where it holds no lock of a file, so that another process can open what it has open."""
    async with asyncio.timeout(20):
        while True:
            child.send_signal(signal.SIGSTOP)
            while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(0.001)
            if not writes_now(child.pid):
                break
            child.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.02)
    async with replacement as second:
        assert second.poll() is None, "the replacement has ended at its start"
        yield


def writes_now(pid: int) -> bool:
    """Whether a process holds a lock to write on some file (SQLite's, in the middle of a commit)."""
    locks = Path("/proc/locks").read_text().splitlines()
    return any(line.split()[3:5] == ["WRITE", str(pid)] for line in locks)


async def test_a_cell_that_wakes_up_after_another_has_taken_its_store_over_refuses_writes_and_ends(
    tmp_path: Path,
) -> None:
    """Fenced by the store itself: nobody told the first one, and it believes that it owns its slots."""
    process, path = await prepared(tmp_path, port=8113)
    second = msgspec.structs.replace(process, port=8114)
    other = tmp_path / "second.json"
    other.write_bytes(msgspec.json.encode(second))
    base, elsewhere = (f"http://{process.host}:{port}" for port in (8113, 8114))
    acknowledged: set[int] = set()
    async with started(path, process) as child, aiohttp.ClientSession() as session:
        headers = await sign_in(session, base, 0)
        async with stopped_and_replaced(child, started(other, second)):
            writing = asyncio.create_task(write_until_it_dies(elsewhere, 0, acknowledged, [0]))
            async with asyncio.timeout(20):
                while len(acknowledged) < 20:
                    await asyncio.sleep(0.005)
            child.send_signal(signal.SIGCONT)
            answers = set()
            with contextlib.suppress(aiohttp.ClientError):
                for number in range(100_000, 200_000):
                    body = {"pos_s": number / 10, "dur_s": 43_200}
                    async with session.put(f"{base}/v1/me/progress/tears", json=body, headers=headers) as answer:
                        answers.add(answer.status)
            code = await asyncio.to_thread(child.wait, 10)
            writing.cancel()

    assert answers <= {503}
    assert code == 1
    found = await written(process)
    assert acknowledged - found == set()
    assert not {number for number in found if number >= 100_000}


async def test_in_a_rehearsal_an_operator_sets_a_cells_clock_wrong_and_nobody_else_does(tmp_path: Path) -> None:
    document, path = await prepared(tmp_path, port=8115)
    process = msgspec.structs.replace(document, rehearsal=True)
    path.write_bytes(msgspec.json.encode(process))
    url = f"http://{process.host}:{process.port}"
    operator = {"Authorization": "Bearer operator"}
    async with started(path, process), aiohttp.ClientSession() as session:
        async with session.put(f"{url}/rehearsal/clock", json={"shift_ms": 5_000}) as answer:
            stranger = answer.status
        async with session.put(f"{url}/rehearsal/clock", json={"shift_ms": 5_000}, headers=operator) as answer:
            assert answer.status == 204
        await write_once(session, url)
        async with session.get(f"{url}/status", headers=operator) as answer:
            jumped = (await answer.json())["store"]["clock_jumped"]

    assert stranger == 401
    assert jumped


CONFINED = """
    import sys
    from pathlib import Path
    import msgspec
    from eisbach.bootstrap.cell import confine_cell
    from eisbach.settings import CellProcess, read_process

    process = read_process(Path(sys.argv[1]), CellProcess)
    found = confine_cell(process)
    other = Path(sys.argv[2])
    results = {"confined": found.confined}
    for name, act in {
        "read": lambda: other.read_bytes(),
        "write": lambda: other.write_bytes(b"mine"),
        "list": lambda: list(other.parent.iterdir()),
        "secrets": lambda: Path(process.secrets).read_bytes(),
        "own": lambda: (Path(process.folder) / "mine").write_bytes(b"x"),
    }.items():
        try:
            act()
            results[name] = "done"
        except OSError as error:
            results[name] = type(error).__name__
    import zoneinfo, sqlite3, encodings.idna  # what Python loads late must still load
    sys.stdout.buffer.write(msgspec.json.encode(results))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_inside_a_cell_another_cells_file_cannot_be_opened(tmp_path: Path) -> None:
    process = document(tmp_path)
    path = tmp_path / "cell.json"
    path.write_bytes(msgspec.json.encode(process))
    Path(process.secrets).write_text("{}")
    other = tmp_path / "eu-central" / "c2" / "store.db"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"theirs")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CONFINED), str(path), str(other)], capture_output=True, check=True
    )
    found = msgspec.json.decode(done.stdout)
    if not found["confined"]:
        pytest.skip("this kernel offers no Landlock")

    assert found == {
        "confined": True, "read": "PermissionError", "write": "PermissionError", "list": "PermissionError",
        "secrets": "PermissionError", "own": "done",
    }  # fmt: skip
    assert other.read_bytes() == b"theirs"


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_a_cell_that_runs_cannot_open_another_cells_file(tmp_path: Path) -> None:
    """The same from inside a process that has threads, a store and a loop: nothing slipped out before confinement."""
    script = """
        import asyncio, sys
        from pathlib import Path
        from eisbach.bootstrap.cell import confine_cell, open_cell
        from eisbach.settings import CellProcess, Secrets, read_process

        process = read_process(Path(sys.argv[1]), CellProcess)
        secrets = read_process(Path(process.secrets), Secrets)
        confinement = confine_cell(process)

        async def main():
            async with open_cell(process, secrets, confinement=confinement) as cell:
                def look():
                    try:
                        return Path(sys.argv[2]).read_bytes().decode()
                    except OSError as error:
                        return type(error).__name__
                print(confinement.confined, look(), await asyncio.to_thread(look), len(cell.ownership.owned()))

        asyncio.run(main())
    """
    process = document(tmp_path)
    Path(process.secrets).write_bytes(msgspec.json.encode(make_secrets()["eu-central"]))
    path = tmp_path / "cell.json"
    path.write_bytes(msgspec.json.encode(process))
    other = tmp_path / "eu-central" / "c2" / "store.db"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"theirs")
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(other)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)

    *_, confined, here, in_a_thread, owned = done.stdout.split()
    if confined == "False":
        pytest.skip("this kernel offers no Landlock")
    assert [here, in_a_thread, owned] == ["PermissionError", "PermissionError", "4"]


def test_without_landlock_the_report_says_so_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import landlock
    from landlock import SyscallError

    def none() -> int:
        raise SyscallError(38, "Function not implemented")

    monkeypatch.setattr(landlock, "landlock_abi_version", none)

    found = confine(read=python_paths(), write=[tmp_path])

    assert not found.confined
    assert "ENOSYS" in found.detail
