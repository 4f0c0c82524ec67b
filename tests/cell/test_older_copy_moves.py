"""What the records of moves have against a store that may be an older copy of itself (P21)."""

import http.server
import threading
from collections.abc import Iterator

import msgspec
import pytest

from eisbach.bootstrap.control_client import HttpMoves
from eisbach.bootstrap.older_copy_moves import records_say
from eisbach.control.moves import SlotRecord
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Lease

SLOT = Slot.parse("eu/de/main/2")
LEFT = SlotRecord(
    slot=str(SLOT), owner="c2", epoch=4, move=7, phase="settled", source="c1", target="c2", began_ms=0,
    outcome="committed",
)  # fmt: skip
CAME = msgspec.structs.replace(LEFT, owner="c1", source="c2", target="c1")
STAYED = msgspec.structs.replace(LEFT, owner="c1", outcome="aborted")
NOT_GIVEN = msgspec.structs.replace(CAME, owner="c2", outcome="aborted")
ELSEWHERE = msgspec.structs.replace(LEFT, owner="c3", source="c2", target="c3")


def told(record: SlotRecord) -> SlotRecord:
    return msgspec.structs.replace(record, told=("c1",))


ACTIVE, FROZEN, AWAY = Lease(3, "active", 5, 6), Lease(3, "frozen", 5, 7), Lease(3, "away", 5, 6, "eu-west")
IMPORTING, GONE, NEW = Lease(3, "importing", 0, 7), Lease(4, "gone", 0, 7, "c2"), Lease(4, "active", 0, 7)

MADE_ANEW = Lease(1, "gone", 0, 0, "c2")
"""What a restore gives it of a slot that another cell has: condemned for it, it would be made anew for ever (seed 69)."""


@pytest.mark.parametrize(
    ("record", "fits", "does_not"),
    [
        pytest.param(LEFT, [FROZEN, GONE, MADE_ANEW, None], [ACTIVE, AWAY, Lease(3, "frozen", 5, 6), IMPORTING], id="left"),
        pytest.param(told(LEFT), [GONE, None], [ACTIVE, FROZEN, IMPORTING], id="left, and it was told"),
        pytest.param(CAME, [IMPORTING, NEW], [None, GONE._replace(epoch=2), ACTIVE, IMPORTING._replace(move=6)],
                     id="came"),
        pytest.param(told(CAME), [NEW, NEW._replace(epoch=104)], [IMPORTING, None, ACTIVE], id="came, and told"),
        pytest.param(STAYED, [ACTIVE, FROZEN, AWAY, NEW], [None, ACTIVE._replace(epoch=2), IMPORTING], id="stayed"),
        pytest.param(told(STAYED), [NEW], [ACTIVE, FROZEN, None], id="stayed, and it was told"),
        pytest.param(NOT_GIVEN, [None, IMPORTING, GONE], [ACTIVE, FROZEN], id="not given"),
        pytest.param(told(NOT_GIVEN), [None, GONE], [IMPORTING, ACTIVE], id="not given, and it was told"),
        pytest.param(ELSEWHERE, [None, GONE._replace(epoch=2)], [ACTIVE, FROZEN, IMPORTING], id="between others"),
        pytest.param(told(LEFT), [Lease(5, "active", 0, 8)], [], id="of a control store that is older itself"),
    ],
)  # fmt: skip
def test_a_row_that_is_behind_its_record_is_of_an_older_copy_and_no_other(
    record: SlotRecord, fits: list[Lease | None], does_not: list[Lease | None]
) -> None:
    def why(lease: Lease | None) -> str:
        return records_say([record], {SLOT: lease} if lease is not None else {}, "c1").why

    assert [lease for lease in fits if why(lease)] == []
    assert [lease for lease in does_not if not why(lease)] == []


def test_what_is_elsewhere_speaks_against_nothing_and_what_has_arrived_is_asked_for() -> None:
    assert records_say([LEFT], {SLOT: FROZEN}, "c1") == ("", frozenset({SLOT}), frozenset())
    assert records_say([CAME], {SLOT: IMPORTING}, "c1") == ("", frozenset(), frozenset({SLOT}))
    assert records_say([told(CAME)], {SLOT: NEW}, "c1") == ("", frozenset(), frozenset())


class _Control(http.server.BaseHTTPRequestHandler):
    status = 200
    nonsense = b""

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer t"
        said = {
            "/cells": {"cells": [], "moves": [LEFT], "map_version": 3, "addresses": {"c2": "127.0.0.1:9"}},
            "/region": {"region": "eu-central", "last": None},
        }
        self._say(self.nonsense or msgspec.json.encode(said[self.path]))

    def do_POST(self) -> None:
        assert self.path == "/moves/abort?reason=asked"
        # And no more: a control process of an earlier version refuses it, and that is taken for a move that has ended.
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert body == msgspec.json.encode({"slot": str(SLOT)})
        self._say(b"{}")

    def _say(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@pytest.fixture
def control() -> Iterator[str]:
    """The address of something that answers as the control process does."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Control)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def test_the_control_process_is_asked_for_records_and_gives_up_moves(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = HttpMoves(control, "t")

    assert await moves.records() == [LEFT]
    assert await moves.evacuation() is None
    assert await moves.addresses() == {"c2": "127.0.0.1:9"}
    await moves.abort(SLOT, "asked")
    for status, error in ((409, Invalid), (503, Unavailable), (401, Unavailable)):
        monkeypatch.setattr(_Control, "status", status)
        with pytest.raises(error):
            await moves.abort(SLOT, "asked")
    with pytest.raises(Unavailable):
        await HttpMoves("http://127.0.0.1:9", "t").records()
    monkeypatch.setattr(_Control, "status", 200)
    monkeypatch.setattr(_Control, "nonsense", b'{"moves": "\xff"}')
    with pytest.raises(Unavailable, match="as one does"):
        await moves.records()


async def test_a_control_process_that_does_not_say_where_cells_are_is_not_taken_for_a_region_without_cells(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an earlier version: each cell that gave a slot would be taken for gone for good."""
    monkeypatch.setattr(_Control, "nonsense", b'{"cells": [], "moves": [], "map_version": 3}')

    assert await HttpMoves(control, "t").records() == []
    with pytest.raises(Unavailable, match="upgrade"):
        await HttpMoves(control, "t").addresses()
