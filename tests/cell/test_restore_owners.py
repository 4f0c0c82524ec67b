"""Whose slots are when a cell is made anew: the records of moves say it, and no move to or from the cell goes on."""

import http.server
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from kit import document, make_secrets, peer

from eisbach.bootstrap import restore_owners
from eisbach.bootstrap.control_client import HttpMoves
from eisbach.control.slot_record import LOST, SlotRecord
from eisbach.deploy.laptop.restoring import moves_under_way, restore
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.slots import Slot
from eisbach.testing.store_host import OTHER, SLOT

THIRD = Slot(SLOT.group, SLOT.number + 2)
BY_MAP = {SLOT: "c1", OTHER: "c2", THIRD: "c1"}
AWAY = SlotRecord(
    slot=str(SLOT), owner="c2", epoch=2, move=1, phase="settled", source="c1", target="c2", began_ms=0,
    outcome="committed", told=("c2",),
)  # fmt: skip
HERE = msgspec.structs.replace(AWAY, slot=str(OTHER), owner="c1", source="c2", target="c1", told=())


class Kept:
    """A coordinator that has only these records; each abort ends one, as its compare-and-set does."""

    def __init__(self, *records: SlotRecord) -> None:
        self.kept = {record.slot: record for record in records}
        self.given_up: list[str] = []
        self.committed_first = False
        self.again = False

    async def records(self) -> Sequence[SlotRecord]:
        return list(self.kept.values())

    async def abort(self, slot: Slot, reason: str) -> None:
        assert reason
        found = self.kept[str(slot)]
        owner = found.target if self.committed_first else found.source
        if not self.again:
            self.kept[str(slot)] = msgspec.structs.replace(found, phase="settled", owner=owner)
        if self.committed_first:
            raise Invalid("none is under way")
        self.given_up.append(str(slot))


async def test_a_record_counts_more_than_the_map_which_follows_it_later() -> None:
    """Else a slot had two owners, or none (seeds 1633 and 501 of a world that put back machines where slots move)."""
    owners = (await restore_owners.owners_by_record(BY_MAP, "c1", Kept(AWAY, HERE))).owners

    assert owners == {SLOT: "c2", OTHER: "c1", THIRD: "c1"}


async def test_a_move_to_or_from_the_cell_is_given_up_and_no_other() -> None:
    moving = msgspec.structs.replace(HERE, phase="moving", owner="c2")
    others = msgspec.structs.replace(AWAY, slot=str(THIRD), phase="queued", source="c2", target="c3", owner="c2")
    moves = Kept(moving, others)

    whose = await restore_owners.owners_by_record(BY_MAP, "c1", moves)

    assert moves.given_up == [str(OTHER)]
    assert whose.owners == {SLOT: "c1", OTHER: "c2", THIRD: "c2"}
    assert [(one.slot, one.phase, one.owner) for one in whose.ended] == [(str(OTHER), "settled", "c2")]


async def test_a_move_that_commits_before_it_can_be_given_up_counts() -> None:
    moves = Kept(msgspec.structs.replace(HERE, phase="moving", owner="c2"))
    moves.committed_first = True

    whose = await restore_owners.owners_by_record(BY_MAP, "c1", moves)

    assert whose.owners[OTHER] == "c1"
    assert [(one.slot, one.owner) for one in whose.ended] == [(str(OTHER), "c1")]


async def test_where_moves_never_end_nothing_is_restored() -> None:
    moves = Kept(msgspec.structs.replace(HERE, phase="moving", owner="c2"))
    moves.again = True

    with pytest.raises(Unavailable, match="try again"):
        await restore_owners.owners_by_record(BY_MAP, "c1", moves)


async def test_a_store_that_is_asked_about_does_not_wait_for_an_import_that_waits_for_it_to_be_let_go_of() -> None:
    """Seed 1689: it was unproved, and its import not let go of, until it gave up waiting for a word (30 s)."""
    open_import = msgspec.structs.replace(HERE, phase=LOST, owner="c2", outcome="aborted")
    given = msgspec.structs.replace(AWAY, phase=LOST, owner="c1", outcome="aborted")
    moves = Kept(open_import)
    moves.again = True

    assert await restore_owners.settled_records("c1", moves, "asked", lets_go=False) == ([open_import], [])
    with pytest.raises(Unavailable, match="try again"):
        await restore_owners.settled_records("c1", moves, "asked")
    moves.kept = {given.slot: given}  # its target may have activated it: that is asked for first
    with pytest.raises(Unavailable, match="try again"):
        await restore_owners.settled_records("c1", moves, "asked", lets_go=False)


async def test_a_cell_is_restored_though_a_lost_record_waits_for_it_to_let_go_of_an_import() -> None:
    """It is down, with an empty disk: it waited for the record, and the record for it."""
    moves = Kept(msgspec.structs.replace(HERE, phase=LOST, owner="c2", outcome="aborted"))
    moves.again = True

    whose = await restore_owners.owners_by_record(BY_MAP, "c1", moves)

    assert whose.owners[OTHER] == "c2"


class Control(http.server.BaseHTTPRequestHandler):
    """The calls of a control process that keeps one move, and lets go of it when it is asked to."""

    moving: ClassVar[SlotRecord] = msgspec.structs.replace(HERE, phase="moving", owner="c2")

    def do_GET(self) -> None:
        assert (self.path, self.headers["Authorization"]) == ("/cells", "Bearer service")
        self._answer(200, msgspec.json.encode({"cells": [], "moves": [type(self).moving], "map_version": 7}))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, asked) == (
            "/moves/abort?reason=a+cell+that+takes+part+in+it+is+made+anew", {"slot": str(OTHER)},
        )  # fmt: skip
        type(self).moving = msgspec.structs.replace(HERE, owner="c2", outcome="aborted")
        self._answer(409, b'{"code":"invalid"}')  # it ended in between: the next look says how

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


async def test_a_restore_names_the_moves_that_it_gave_up_also_when_it_fails_after_that(tmp_path: Path) -> None:
    """Who tries again finds none under way, and nobody would have been told."""
    Control.moving = msgspec.structs.replace(HERE, phase="moving", owner="c2")
    secrets = msgspec.structs.replace(make_secrets()["eu-central"], service_token="service")
    (tmp_path / "eu-central.json").write_bytes(msgspec.json.encode(secrets))
    named: list[tuple[str, str, str]] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        process = document(tmp_path, control=url, backups="", peers=[peer("eu-west", "http://127.0.0.1:1")])
        Path(process.folder).mkdir(parents=True)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await restore(
                process, {}, lambda *_: None, ended=lambda one: named.append((one.slot, one.outcome, one.owner))
            )
        server.shutdown()

    assert named == [(str(OTHER), "aborted", "c2")]


async def test_a_dry_run_names_the_moves_that_a_restore_would_give_up_and_gives_up_none(tmp_path: Path) -> None:
    Control.moving = msgspec.structs.replace(HERE, phase="moving", owner="c2")
    secrets = msgspec.structs.replace(make_secrets()["eu-central"], service_token="service")
    (tmp_path / "eu-central.json").write_bytes(msgspec.json.encode(secrets))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = document(tmp_path, control=f"http://127.0.0.1:{server.server_port}", backups="")
        found = await moves_under_way(process)
        other = await moves_under_way(msgspec.structs.replace(process, cell="c9"))
        server.shutdown()

    assert (found, other) == ([Control.moving], [])
    assert Control.moving.phase == "moving"


async def test_the_command_asks_the_control_process_and_says_so_when_it_is_not_there() -> None:
    Control.moving = msgspec.structs.replace(HERE, phase="moving", owner="c2")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        moves = HttpMoves(f"http://127.0.0.1:{server.server_port}", "service")
        owners = (await restore_owners.owners_by_record(BY_MAP, "c1", moves)).owners
        server.shutdown()

    assert owners == {SLOT: "c1", OTHER: "c2", THIRD: "c1"}
    with pytest.raises(Unavailable, match="start the region first"):
        await moves.records()
