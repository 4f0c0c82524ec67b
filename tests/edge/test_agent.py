"""The agent: which maps it takes, what it writes, when nginx reloads, and that nothing needs it to go on."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from eisbach.edge.agent import MAP_FILE, Agent, AgentKeys
from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite
from eisbach.edge.nginx_origin import KEYS_FILE, OriginSite
from eisbach.edge.nginx_prefix import CONFIG, NginxPrefix
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.slotmap import CellEntry, encode_signed
from eisbach.settings import AgentProcess, PeerRegion, Secrets
from eisbach.testing.manual_clock import ManualClock

from .hostile_tokens import KEYS_HEX
from .maps import ALONE, CELLS, EDGE, HOST, ORIGIN, PEER_DOOR, slot_map
from .nginx_host import NGINX, PROCESS, Answering, Stub, ask, listening, stubs, until, workers_of

pytestmark = pytest.mark.processes  # nginx -t judges every configuration
KEY = b"k" * 32
COUNTS = {"any/all/studio": 4, "eu/at/main": 4, "eu/de/main": 4}
SECRETS = Secrets(
    jwt_private={}, jwt_public=[], media_keys=KEYS_HEX, session_keys={"s1": "00"}, map_key=KEY.hex(), peer_token="peer-token",
    service_token="service", operator_token="operator",
)  # fmt: skip


@dataclass
class Rig:
    folder: Path
    keys: AgentKeys = field(
        default_factory=lambda: AgentKeys(map_key=KEY, media_keys=dict(KEYS_HEX), peer_token="peer-token")
    )

    def agent(self) -> Agent:
        edge = EdgeSite(region=ALONE, host=HOST, port=EDGE, peer_port=PEER_DOOR, media="/nowhere", process=PROCESS)
        origin = OriginSite(region="eu-central", host=HOST, port=ORIGIN, media="/nowhere", process=PROCESS)
        return Agent(
            sites=(edge, origin),
            prefixes=(NginxPrefix(self.folder / "edge", nginx=NGINX), NginxPrefix(self.folder / "origin", nginx=NGINX)),
            map_file=self.folder / "edge" / MAP_FILE,
            slot_counts=COUNTS,
            keys=lambda: self.keys,
            clock=ManualClock(),
        )

    def files(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.folder)): p.read_bytes()
            for p in self.folder.rglob("*")
            if p.is_file() and "next" not in p.parts
        }


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def signed(version: int = 1, key: bytes = KEY, **changes: object) -> bytes:
    return encode_signed(slot_map(version, **changes), key)


def _altered() -> bytes:
    return signed(9).replace(b'"c1"', b'"c2"', 1)


HALF = ["c1", "c2", "c2", "c2"]
REFUSED = {
    "older": signed(4),
    "of the same version but different": signed(
        5, cells={**slot_map().cells, "c1": CellEntry(address=slot_map().cells["c2"].address)}
    ),
    "unsigned": msgspec.json.encode({"map": slot_map(9), "signature": ""}),
    "signed with another key": signed(9, key=b"x" * 32),
    "altered": _altered(),
    "cut short": signed(9)[:-20],
    "empty text": b"",
    "not a map": b'{"map": {}, "signature": ""}',
    "null": b"null",
    "no text": b'{"map": {"\xff": 1}, "signature": ""}',
    "no text where it names": b'{"\xff": {}, "signature": ""}',
    "of another region": signed(9, region="eu-west"),
    "without cells": signed(9, cells={}),
    "without groups": signed(9, groups={}),
    "without a group": signed(9, groups={g: o for g, o in slot_map().groups.items() if g != "eu/at/main"}),
    "with a slot missing": signed(9, groups={**slot_map().groups, "eu/at/main": ["c3"] * 3}),
    "with a slot too many": signed(9, groups={**slot_map().groups, "eu/at/main": ["c3"] * 5}),
    "with an unknown cell": signed(9, groups={**slot_map().groups, "eu/at/main": ["c3", "c3", "c3", "c9"]}),
    "with a malformed group": signed(9, groups={**slot_map().groups, "eu/de": ["c1"]}),
    "without preferred regions": signed(9, preferred={}),
    "changing over a fifth": signed(9, groups={**slot_map().groups, "eu/at/main": ["c1"] * 4}),
    "with a directive for a name": signed(
        9, cells={**slot_map().cells, "c4; include /etc/passwd": CellEntry(address="a:1")}
    ),
    "with a directive for an address": signed(9, cells={**slot_map().cells, "c4": CellEntry(address="a:1; include x")}),
    "with an address that nginx refuses": signed(
        9, cells={**slot_map().cells, "c4": CellEntry(address=f"{HOST}:99999")}
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_map_is_refused_and_changes_nothing(rig: Rig, what: str) -> None:
    agent = rig.agent()
    assert await agent.take(signed(5))
    before = rig.files()

    taken = await agent.take(REFUSED[what])

    assert not taken
    assert rig.files() == before
    assert (agent.status()["map_version"], agent.status()["maps_refused"]) == (5, 1)
    assert agent.status()["last_refusal"]
    assert agent.missing is None


async def test_a_newer_map_is_taken_with_bulk_even_whole(rig: Rig) -> None:
    agent = rig.agent()
    await agent.take(signed(5))

    small = await agent.take(signed(6, groups={**slot_map().groups, "eu/de/main": HALF}))
    whole = await agent.take(signed(7, groups={**slot_map().groups, "eu/at/main": ["c1"] * 4}, bulk=True))

    assert (small, whole, agent.status()["map_version"]) == (True, True, 7)


async def test_after_a_restart_the_last_good_map_is_in_force_and_an_older_one_is_refused(rig: Rig) -> None:
    await rig.agent().take(signed(5))
    before = rig.files()
    agent = rig.agent()

    await agent.load()
    ready = agent.missing
    older = await agent.take(signed(4))

    assert (ready, older, agent.status()["map_version"]) == (None, False, 5)
    assert rig.files() == before


async def test_a_map_on_disk_that_was_altered_is_not_taken_up(rig: Rig) -> None:
    (rig.folder / "edge").mkdir()
    (rig.folder / "edge" / MAP_FILE).write_bytes(_altered())
    agent = rig.agent()

    await agent.load()

    assert agent.missing is not None
    assert agent.document is None


async def test_the_same_map_again_reloads_nothing(rig: Rig) -> None:
    agent = rig.agent()

    async def fetch() -> bytes:
        return signed(5)

    for _ in range(3):
        await agent.activate(fetch)

    assert agent.status()["reloads"] == {"edge": 1, "origin": 1}


async def test_a_dead_control_process_changes_nothing(rig: Rig) -> None:
    agent = rig.agent()
    await agent.take(signed(5))
    before = rig.files()

    async def fetch() -> bytes:
        raise Unavailable("nobody there")

    await agent.activate(fetch)

    assert rig.files() == before
    assert (agent.missing, agent.status()["fetch_failures"]) == (None, 1)


async def test_rotated_media_keys_reach_the_origin_alone_and_without_a_new_map(rig: Rig) -> None:
    agent = rig.agent()
    await agent.take(signed(5))
    rig.keys = AgentKeys(map_key=KEY, media_keys={"m2": KEYS_HEX["m2"], "m3": "03" * 32}, peer_token="peer-token")

    await agent.take(signed(5))

    keys = msgspec.json.decode((rig.folder / "origin" / KEYS_FILE).read_bytes())
    assert keys == {"m2": KEYS_HEX["m2"], "m3": "03" * 32}
    assert agent.status()["reloads"] == {"edge": 1, "origin": 2}


async def test_secrets_are_readable_by_their_owner_alone_and_stand_in_no_configuration(rig: Rig) -> None:
    await rig.agent().take(signed(5))

    modes = {stat.S_IMODE((rig.folder / f).stat().st_mode) for f in (f"edge/{PEER_TOKEN_FILE}", f"origin/{KEYS_FILE}")}
    configs = (rig.folder / "edge" / CONFIG).read_text() + (rig.folder / "origin" / CONFIG).read_text()
    assert modes == {0o600}
    assert [s for s in (*KEYS_HEX.values(), "peer-token", KEY.hex()) if s in configs] == []


async def test_a_crash_between_writing_and_reloading_is_made_good(rig: Rig) -> None:
    agent = rig.agent()
    await agent.take(signed(5))
    (rig.folder / "edge" / "applied").unlink()

    await agent.take(signed(5))

    assert agent.status()["reloads"] == {"edge": 2, "origin": 1}


async def test_a_map_is_on_disk_before_nginx_hears_of_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """P8: else a crash in between has nginx at the new map, and the agent that starts again goes back to the old one."""
    agent, kept, put = rig.agent(), [], NginxPrefix.put

    def looking(prefix: NginxPrefix, files: Mapping[str, bytes]) -> None:
        kept.append((rig.folder / "edge" / MAP_FILE).read_bytes())
        put(prefix, files)

    monkeypatch.setattr(NginxPrefix, "put", looking)
    await agent.take(signed(5))
    await agent.take(signed(6, groups={**slot_map().groups, "eu/de/main": HALF}))

    assert kept
    assert set(kept) == {signed(5), signed(6, groups={**slot_map().groups, "eu/de/main": HALF})}
    assert kept[-1] == agent.document


async def test_what_nginx_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    prefix = NginxPrefix(tmp_path / "edge", nginx=NGINX)

    with pytest.raises(Invalid, match="unknown directive"):
        await prefix.check({CONFIG: b"nonsense 1;"})

    with pytest.raises(Unavailable, match="EISBACH_NGINX"):
        await NginxPrefix(tmp_path / "edge", nginx="/nowhere/nginx").check({CONFIG: b""})


async def test_a_pid_file_that_points_at_another_process_gets_no_signal(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "30"])
    prefix = NginxPrefix(tmp_path / "edge", nginx=NGINX)
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "n.pid").write_text(str(other.pid))
    try:
        prefix.put({CONFIG: b""})

        assert (prefix.running, other.poll()) == (False, None)
    finally:
        other.kill()
        other.wait()


@dataclass
class Platform:
    """Agent, edge and origin as processes; a stub for the control process and for every cell."""

    folder: Path
    control: Stub
    cells: dict[str, Stub]
    agent: subprocess.Popen[bytes]
    document: Path
    nginx: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def workers(self) -> list[list[int]]:
        return [workers_of(p.pid) for p in self.nginx]

    def start_agent(self) -> None:
        code = f"from pathlib import Path; from eisbach.bootstrap.kinds import run_process; run_process('agent', Path({str(self.document)!r}))"
        self.agent = subprocess.Popen([sys.executable, "-c", code])

    async def ready(self) -> None:
        await listening(HOST, 8201)

        async def answers() -> bool:
            return (await ask(8201, "/readyz")).status == 200

        await until(answers, what="the agent is ready", seconds=20)

    async def nudge(self) -> dict[str, object]:
        got = await ask(8201, "/nudge", method="POST", headers={"Authorization": "Bearer service"})
        return msgspec.json.decode(got.body)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    (tmp_path / "secrets.json").write_bytes(msgspec.json.encode(SECRETS))
    process = AgentProcess(
        region="eu-central", host=HOST, port=8201, folder=str(tmp_path / "agent"), secrets=str(tmp_path / "secrets.json"),
        control=f"http://{HOST}:8200", nginx=NGINX, edge_port=EDGE, peer_port=PEER_DOOR, origin_port=ORIGIN, cells=CELLS,
        groups=COUNTS, peers=[PeerRegion(region="eu-west", door=f"http://{HOST}:8083", edge="http://x:1", origin="http://x:2")],
        front="http://localhost:8000", blobs=str(tmp_path / "blobs"), residencies={"eu-central": "eu", "eu-west": "eu"},
    )  # fmt: skip
    document = tmp_path / "agent.json"
    document.write_bytes(msgspec.json.encode(process))
    async with stubs(CELLS) as cells, stubs({"control": f"{HOST}:8200"}) as control:
        control["control"].behave = Answering(body=signed(1))
        found = Platform(tmp_path / "agent", control["control"], cells, None, document)  # type: ignore[arg-type]
        found.start_agent()
        try:
            await found.ready()
            for name in ("edge", "origin"):
                prefix = found.folder / name
                found.nginx.append(
                    subprocess.Popen(
                        [NGINX, "-p", f"{prefix}/", "-e", str(prefix / "error.log"), "-c", "nginx.conf"],
                        stderr=subprocess.DEVNULL,
                    )
                )
            await listening(HOST, EDGE)
            await listening(HOST, ORIGIN)
            await until(lambda: all(found.workers()), what="both have their workers")
            yield found
        finally:
            for child in (found.agent, *found.nginx):
                child.terminate()
            for child in (found.agent, *found.nginx):
                child.wait(10)


SLOT_0, SLOT_1 = {"Eisbach-Slot": "eu/de/main/0"}, {"Eisbach-Slot": "eu/de/main/1"}


async def test_a_new_map_moves_a_slot_and_an_unchanged_one_reloads_nothing(platform: Platform) -> None:
    before = platform.workers()
    same = await platform.nudge()
    unchanged = platform.workers()

    platform.control.behave = Answering(body=signed(2, groups={**slot_map().groups, "eu/de/main": HALF}))
    moved = await platform.nudge()

    async def follows() -> bool:
        return (await ask(EDGE, "/v1/me/rails", headers=SLOT_1)).headers["eisbach-cell"] == "c2"

    await until(follows, what="slot 1 is at c2")

    assert (same["map_version"], unchanged) == (1, before)
    assert moved["map_version"] == 2
    assert (await ask(EDGE, "/v1/me/rails", headers=SLOT_0)).headers["eisbach-cell"] == "c1"
    assert (await ask(8201, "/map")).body == platform.control.behave.body
    got = await ask(PEER_DOOR, "/peer/map", headers={"Authorization": "Bearer peer-token"})
    assert got.body == platform.control.behave.body


async def test_a_refused_map_leaves_the_workers_alone(platform: Platform) -> None:
    before = platform.workers()
    platform.control.behave = Answering(body=signed(9, groups={**slot_map().groups, "eu/at/main": ["c1"] * 4}))

    status = await platform.nudge()

    assert (status["map_version"], status["maps_refused"]) == (1, 1)
    assert platform.workers() == before


async def test_with_agent_and_control_dead_no_call_notices(platform: Platform) -> None:
    before = [(await ask(EDGE, "/v1/me/rails", headers=SLOT_0)).status for _ in range(5)]
    os.kill(platform.agent.pid, signal.SIGKILL)
    platform.agent.wait()
    await platform.control.stop()

    after = [(await ask(EDGE, "/v1/me/rails", headers=SLOT_0)).status for _ in range(20)]

    assert (before, after) == ([200] * 5, [200] * 20)


async def test_an_agent_that_starts_without_control_lives_on_the_last_good_map(platform: Platform) -> None:
    os.kill(platform.agent.pid, signal.SIGKILL)
    platform.agent.wait()
    await platform.control.stop()
    before = platform.workers()
    platform.start_agent()

    await platform.ready()
    status = await platform.nudge()

    assert (status["map_version"], status["running"]) == (1, {"edge": True, "origin": True})
    assert platform.workers() == before


async def test_calls_during_a_reload_are_all_answered(platform: Platform) -> None:
    for cell in platform.cells.values():
        cell.behave = Answering(delay_s=0.02)
    asking = [asyncio.create_task(ask(EDGE, "/v1/me/rails", headers=SLOT_0)) for _ in range(20)]
    for version in range(2, 5):
        platform.control.behave = Answering(body=signed(version))
        await platform.nudge()
        asking += [asyncio.create_task(ask(EDGE, "/v1/me/rails", headers=SLOT_0)) for _ in range(20)]

    got = await asyncio.gather(*asking)

    assert {g.status for g in got} == {200}
