"""The stored rows of slots on DynamoDB: earlier formats are read for ever."""

import msgspec

from eisbach.engines.aws.slot_rows import SlotRows
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease

FORMAT_1 = [[3, "active", 4, 1, None], {"eu-central": [3, 4], "eu-west": [1, 9]}, {"a": 2}, {"eu-west": [1, 5]}, 1]


def test_a_row_of_the_first_format_is_read_with_its_last_events_in_the_leases_epoch() -> None:
    made = SlotRows.decode("eu/de/main/7", msgspec.msgpack.encode(FORMAT_1))

    assert made.lease == Lease(3, "active", 4, 1, None)
    assert (made.marks["eu-west"], made.floors) == (Mark(1, 9), {"eu-west": Mark(1, 5)})
    assert made.last_events == {"a": Mark(3, 2)}


def test_a_row_keeps_the_last_events_of_every_epoch_and_tells_the_first_format_those_of_its_own() -> None:
    made = SlotRows.decode("eu/de/main/7", msgspec.msgpack.encode(FORMAT_1))
    made.last_events["old"] = Mark(2, 11)

    raw = made.encode()

    assert SlotRows.decode("eu/de/main/7", raw).last_events == {"a": Mark(3, 2), "old": Mark(2, 11)}
    assert msgspec.msgpack.decode(raw)[:4] == FORMAT_1[:4]
