"""The supervisor with real processes: starts in order, restarts, breaks and heals, leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from eisbach.deploy.laptop import children, supervised
from eisbach.deploy.laptop.ground import refuse_taken_ports
from eisbach.deploy.laptop.targets import UnknownTarget
from eisbach.kernel.errors import Invalid, Unavailable

from .conftest import HOST, alive, get, spec, supervisor, until

pytestmark = pytest.mark.processes


async def test_processes_start_after_what_they_depend_on(tmp_path: Path) -> None:
    first, second = spec(tmp_path, "control/r", 8200), spec(tmp_path, "agent/r", 8201, depends=("control/r",))

    async with supervisor(tmp_path, second, first) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        order = [(c.target, c.after) for c in reversed(one.changes)]

    assert order.index(("control/r", "ready")) < order.index(("agent/r", "starting"))


async def test_a_killed_process_is_restarted(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["cell/r/c1"]
        before = process.pid
        os.kill(before, signal.SIGKILL)
        await until("another pid is ready", lambda: process.pid not in (None, before) and process.state == "ready")

        assert (process.restarts, await get(f"http://{HOST}:8101/")) == (1, (200, b"fine"))


async def test_a_killed_process_is_restarted_also_when_no_note_of_its_session_can_be_written(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/eu-central/c1", 8100)) as one:
        cell = one.processes["cell/eu-central/c1"]
        await until("ready", lambda: cell.state == "ready")
        note = tmp_path / "processes" / "sessions.json"
        note.unlink()
        note.mkdir()  # refuses every write, as a full disk does

        cell.kill("test")
        await until("restarted", lambda: cell.restarts == 1 and cell.state == "ready")

        note.rmdir()


async def test_a_folder_that_was_removed_under_a_process_is_filled_again_before_its_next_start(tmp_path: Path) -> None:
    """A hub whose configuration has gone must not be restarted into the same refusal for ever."""
    hub = spec(tmp_path, "hub/r", 8222)
    configuration = Path(hub.folder) / "nats.conf"
    async with supervisor(tmp_path, replace(hub, files=((str(configuration), "listen"),))) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["hub/r"]
        shutil.rmtree(hub.folder)
        os.kill(process.pid or 0, signal.SIGKILL)
        await until("restarted", lambda: process.restarts == 1 and process.state == "ready")

        assert configuration.read_text() == "listen"


async def test_what_cannot_be_started_says_the_path_and_why(tmp_path: Path) -> None:
    """A folder without rights was told as a forked process that ended before it was set up."""
    log = tmp_path / "logs" / "hub-r.log"
    log.mkdir(parents=True)  # root may enter every folder
    async with supervisor(tmp_path, spec(tmp_path, "hub/r", 8222)) as one:
        process = one.processes["hub/r"]
        await until("tried", lambda: process.state == "restarting")
        why = process.why

    assert f"Is a directory: '{log}'" in why


async def test_the_terminals_ctrl_c_is_no_matter_of_the_zygote_from_its_first_moment(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)) as one:
        zygote = one._children._zygote
        assert zygote is not None
        assert os.getsid(zygote.pid) == zygote.pid


async def test_what_crashes_at_once_is_restarted_with_growing_delay(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101, "--crash")) as one:
        await until("four tries", lambda: one.processes["cell/r/c1"].restarts >= 4)
        found = [c.why for c in reversed(one.changes) if c.after == "restarting"][:4]

    assert [
        f"ended with code 1: this one always crashes; again in {delay} s" for delay in ("0.1", "0.2", "0.4", "0.8")
    ] == found


async def test_stopping_leaves_no_process_behind_not_even_grandchildren(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101, "--child")) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        grandchild = int(one.processes["cell/r/c1"].log.read_text().split()[1])
        pids = [one.processes["cell/r/c1"].pid, grandchild]
        assert all(alive(pid) for pid in pids)

    assert [pid for pid in pids if alive(pid)] == []


async def test_a_helper_that_the_reaper_buries_leaves_no_line_on_the_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)):
        for _ in range(20):  # which of the two waits first is chance
            helper = await asyncio.create_subprocess_exec("/bin/true")
            await helper.wait()

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_the_death_of_the_zygote_hurts_nobody(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101), spec(tmp_path, "cell/r/c2", 8102)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        pid, other = one.processes["cell/r/c1"].pid, one.processes["cell/r/c2"]
        os.kill(one._children._zygote.pid, signal.SIGKILL)
        other.kill("test")
        await until("restarted through a new zygote", lambda: other.restarts == 1 and other.state == "ready")

        assert alive(pid)


async def test_a_process_that_is_forked_after_its_start_was_given_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine: it kept the address, and every later start of its target ended with "address in use"."""
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        pid = one.processes["cell/r/c1"].pid
        late = {"name": "late", "log": str(tmp_path / "late.log"), "folder": str(tmp_path), "argv": ["sleep", "4321"]}
        monkeypatch.setattr(children, "_ANSWER_S", 0.0)
        with pytest.raises(Unavailable, match="the zygote did not answer"):
            await one._children.spawn(late)
        monkeypatch.undo()
        after = await one._children.spawn(late)  # whose answer comes behind the one nobody waits for

        await until("nothing is left of it", lambda: sleepers() == {after})
        assert alive(pid)


def sleepers() -> set[int]:
    """Children of ours that are, or are about to be, the ``sleep`` of a test."""
    mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = {int(child): Path(f"/proc/{child}/cmdline") for child in mine}
    return {pid for pid, line in found.items() if line.exists() and b"4321" in line.read_bytes()}


async def test_down_stays_down_until_heal(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "edge/eu-central", 8080)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["edge/eu-central"]
        await one.fault("down", "region/eu-central")
        await until("down", lambda: process.state == "down")
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(f"http://{HOST}:8080/")
        healed = await one.heal()
        await until("up again", lambda: process.state == "ready")

        assert (healed, one.faults) == (["edge/eu-central"], {})


async def test_what_only_a_new_start_ends_is_started_anew_once_its_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"bytes": 0}
    monkeypatch.setattr(supervised.shutil, "disk_usage", lambda _: SimpleNamespace(free=free["bytes"]))
    one_spec = replace(spec(tmp_path, "hub/r", 8222, "--stuck"), stuck="write error")
    async with supervisor(tmp_path, one_spec) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["hub/r"]
        (Path(process.spec.folder) / "stuck").touch()
        await until("unready", lambda: process.state == "unready", seconds=20)
        left_alone = process.restarts
        free["bytes"] = 1 << 30
        await until("started anew", lambda: process.restarts == 1, seconds=20)
        (Path(process.spec.folder) / "stuck").unlink()
        await until("ready", lambda: process.state == "ready", seconds=20)
        why = [change.why for change in one.changes if change.after == "restarting"]

    assert left_alone == 0
    assert why[0].startswith("it would not recover: ")
    assert "write error" in why[0]


async def test_what_closed_its_door_and_does_not_end_is_ended_and_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and serves nobody, for ever: no fault, and no exit that the supervisor could see."""
    monkeypatch.setattr(supervised, "CLOSED_MAX", 5)
    async with supervisor(tmp_path, spec(tmp_path, "spokes/r", 8223)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["spokes/r"]
        with suppress(aiohttp.ClientError):
            await get(f"{process.spec.url}/close")
        await until("started anew", lambda: process.restarts == 1, seconds=30)
        await until("ready", lambda: process.state == "ready", seconds=20)
        why = [change.why for change in one.changes if change.after == "restarting"]

    assert why[0].startswith("it closed its door and did not end: http://127.0.25.1:8223/readyz: nobody listens there")


async def test_hang_takes_connections_and_never_answers(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "edge/eu-central", 8080)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["edge/eu-central"]
        await one.fault("hang", "edge/eu-central")
        await until("hung", lambda: process.state == "hung")
        with pytest.raises(TimeoutError):
            await get(f"http://{HOST}:8080/", seconds=0.5)
        await one.heal("edge/eu-central")
        await until("answers", lambda: process.state == "ready")

        assert (process.restarts, (await get(f"http://{HOST}:8080/"))[0]) == (0, 200)


async def test_a_death_and_a_heal_at_the_same_moment_do_not_leave_a_dead_process_unnoticed(tmp_path: Path) -> None:
    """``asyncio.wait_for`` of Python 3.11 swallows a cancellation that comes with what it waits for."""
    async with supervisor(tmp_path, spec(tmp_path, "edge/eu-central", 8080)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["edge/eu-central"]
        for turn in range(12):
            await one.fault("hang", "edge/eu-central")
            pid = process.pid
            process.hold("down")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead, and the loop has not heard of it
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            process.heal()
            await until(
                f"another one is ready, turn {turn}", lambda p=pid: process.pid != p and process.state == "ready"
            )


async def test_slow_answers_late(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        await one.fault("slow", "cell/r/c1")
        await until("slow", lambda: one.processes["cell/r/c1"].state == "slow")
        started = time.monotonic()
        for _ in range(10):
            assert (await get(f"http://{HOST}:8101/"))[0] == 200
        took = time.monotonic() - started

    assert took > 0.15


@pytest.mark.parametrize("kind", ["error", "truncate"])
async def test_a_broken_server_stands_in_until_heal(tmp_path: Path, kind: str) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "origin/eu-central", 8081)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        process = one.processes["origin/eu-central"]
        await one.fault(kind, "region/eu-central")
        await until(kind, lambda: process.state == kind)
        if kind == "error":
            assert (await get(f"http://{HOST}:8081/large"))[0] == 503
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await get(f"http://{HOST}:8081/large")
        await one.heal()
        await until("itself again", lambda: process.state == "ready")

        assert ((answer := await get(f"http://{HOST}:8081/large"))[0], len(answer[1])) == (200, 100_000)


async def test_a_fault_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/eu-central/c1", 8101)) as one:
        with pytest.raises(Invalid, match="error is for edges and origins"):
            await one.fault("error", "cell/eu-central/c1")
        with pytest.raises(UnknownTarget, match="did you mean 'cell/eu-central/c1'"):
            await one.fault("down", "cell/eu-central/c7")
        with pytest.raises(Invalid, match="there is no link"):
            await one.cut("eu-central", "eu-west")


async def test_nothing_can_be_broken_outside_rehearsal(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/eu-central/c1", 8101), rehearsal=False) as one:
        with pytest.raises(Invalid, match="without rehearsal"):
            await one.fault("kill", "cell/eu-central/c1")


async def test_a_second_start_on_the_same_data_is_refused_with_the_pid(tmp_path: Path) -> None:
    async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8101)) as one:
        one.announce({})
        with pytest.raises(Invalid, match=f"in use by eisbach up, pid {os.getpid()}"):
            async with supervisor(tmp_path, spec(tmp_path, "cell/r/c1", 8102)):
                pass


async def test_what_processes_find_is_written_once_folder_and_addresses_are_had(tmp_path: Path) -> None:
    """A second start wrote its own secrets and configurations over those of the platform that ran, then was refused."""
    written: list[str] = []
    async with supervisor(tmp_path / "one", spec(tmp_path, "cell/r/c1", 8101)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        for port in (8101, 8102):  # taken; free, but the folder is held
            with pytest.raises(Invalid, match="in use by eisbach up"):
                async with supervisor(
                    tmp_path / "one", spec(tmp_path, "cell/r/c1", port), lay=lambda: written.append("one")
                ):
                    pass
        with pytest.raises(Invalid, match="addresses are taken"):
            async with supervisor(
                tmp_path / "two", spec(tmp_path, "cell/r/c1", 8101), lay=lambda: written.append("two")
            ):
                pass

    assert written == []


async def test_a_taken_port_is_refused_with_who_has_it(tmp_path: Path) -> None:
    async with supervisor(tmp_path / "one", spec(tmp_path, "cell/r/c1", 8101)) as one:
        await asyncio.wait_for(one.until_ready(), 15)
        pid = one.processes["cell/r/c1"].pid

        with pytest.raises(Invalid, match=rf"{HOST}:8101 \(cell/r/c1\) is used by pid {pid} \(.*stand_in"):
            async with supervisor(tmp_path / "two", spec(tmp_path, "cell/r/c1", 8101)):
                pass
        assert not (tmp_path / "two").exists(), "what is refused leaves no folder"


def test_of_many_taken_ports_a_few_are_named_with_who_has_them_and_the_rest_is_counted() -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(6)]
        wanted = [(f"{HOST}:{port}", f"cell/r/c{n}") for n, port in enumerate(held)]

        with pytest.raises(Invalid) as refused:
            refuse_taken_ports(wanted)

    said = str(refused.value)
    assert said.startswith("6 of 6 addresses are taken: ")
    assert said.count(f"is used by pid {os.getpid()} ") == 3
    assert "; and 3 more. Stop what has them" in said
