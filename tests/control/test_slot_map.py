"""The slot-map reconciler over the embedded control store."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eisbach.control.slot_map import PUBLISHED, WANTED, Placement, SlotMapReconciler, Wanted, first_groups
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Corrupt, Invalid, VersionConflict
from eisbach.kernel.slotmap import SlotMap, decode_signed, judge
from eisbach.testing.manual_clock import ManualClock

KEY = b"k" * 32
GROUPS = {"eu/de/main": 8, "any/all/studio": 4}
SLOTS = {
    "c1": {"eu/de/main": [0, 1, 2, 3]},
    "c2": {"eu/de/main": [4, 5, 6, 7]},
    "studio": {"any/all/studio": [0, 1, 2, 3]},
}
PLACEMENT = Placement(
    region="eu-central",
    cells={"c1": "h:1", "c2": "h:2", "studio": "h:3"},
    groups=first_groups(GROUPS, SLOTS),
    preferred={group: ["eu-central"] * count for group, count in GROUPS.items()},
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteControlStore]:
    opened = SqliteControlStore(tmp_path / "control.db")
    yield opened
    await opened.aclose()


def reconciler(store: SqliteControlStore, placement: Placement = PLACEMENT, key: bytes = KEY) -> SlotMapReconciler:
    return SlotMapReconciler(store, placement, clock=ManualClock(), key=key)


async def want(store: SqliteControlStore, groups: dict[str, list[str]], **more: object) -> None:
    stored = await store.get(WANTED)
    wanted = Wanted(groups=groups, **more)  # type: ignore[arg-type]
    await store.put(WANTED, msgspec.json.encode(wanted), expected=stored.revision if stored else 0)


def moved(*numbers: int) -> dict[str, list[str]]:
    groups = {group: list(owners) for group, owners in PLACEMENT.groups.items()}
    for number in numbers:
        groups["eu/de/main"][number] = "c2"
    return groups


async def test_the_first_map_is_whole_signed_and_what_an_edge_takes(store: SqliteControlStore) -> None:
    control = reconciler(store)

    changed = await control.activate()

    published = decode_signed(control.document or b"", KEY)
    judge(published, None, region="eu-central", slot_counts=GROUPS)
    assert (changed, published.version) == (True, 1)
    assert published.groups["eu/de/main"] == ["c1"] * 4 + ["c2"] * 4


async def test_again_and_again_changes_nothing_and_gives_the_same_bytes(store: SqliteControlStore) -> None:
    first = reconciler(store)
    await first.activate()
    document = first.document

    again = [await first.activate(), await reconciler(store).activate()]
    other = reconciler(store)
    await other.activate()

    assert again == [False, False]
    assert (first.document, other.document) == (document, document)


async def test_a_wanted_change_is_published_once_under_the_next_version(store: SqliteControlStore) -> None:
    control = reconciler(store)
    await control.activate()
    await want(store, moved(0))

    changed = [await control.activate(), await control.activate()]

    published = decode_signed(control.document or b"", KEY)
    assert (changed, published.version) == ([True, False], 2)
    assert published.groups["eu/de/main"][0] == "c2"


async def test_what_every_edge_would_refuse_is_not_published(store: SqliteControlStore) -> None:
    control = reconciler(store)
    await control.activate()
    await want(store, moved(0, 1, 2, 3))

    changed = await control.activate()

    assert (changed, control.version) == (False, 1)
    assert "bulk" in control.refusal


async def test_a_bulk_change_is_published_and_a_cells_state_is_told(store: SqliteControlStore) -> None:
    control = reconciler(store)
    await control.activate()
    await want(store, moved(0, 1, 2, 3), bulk=True, states={"c1": "draining"})

    await control.activate()

    assert (control.version, control.refusal) == (2, "")
    assert control.cells == {"c1": "draining", "c2": "active", "studio": "active"}


async def test_an_edge_that_was_away_while_slots_moved_one_by_one_takes_the_newest_map(
    store: SqliteControlStore,
) -> None:
    control = reconciler(store)
    await control.activate()
    first = decode_signed(control.document or b"", KEY)
    for number in range(4):
        await control.assign({f"eu/de/main/{number}": "c2"})

    newest = decode_signed(control.document or b"", KEY)

    assert (newest.version, newest.since["eu/de/main"]) == (5, [2, 3, 4, 5, 1, 1, 1, 1])
    judge(newest, first, region="eu-central", slot_counts=GROUPS)


async def test_one_consent_to_a_large_change_is_spent_by_one_version(store: SqliteControlStore) -> None:
    control = reconciler(store)
    await control.activate()
    await control.assign({f"eu/de/main/{n}": "c2" for n in range(4)}, bulk=True)
    large = decode_signed(control.document or b"", KEY)

    await control.assign({f"eu/de/main/{n}": "c1" for n in range(8)})

    assert (large.bulk, control.version) == (True, 2)
    assert "version 3 changes 8 of 12 slots, more than a fifth, without the bulk flag" in control.refusal
    await control.assign({}, bulk=True)
    newest = decode_signed(control.document or b"", KEY)
    assert (newest.version, newest.bulk, newest.bulk_before) == (3, True, [2])


async def test_a_map_of_a_release_that_did_not_say_since_when_is_followed_by_one_that_edges_take(
    store: SqliteControlStore,
) -> None:
    control = reconciler(store)
    await control.activate()
    stored = await store.get(PUBLISHED)
    assert stored is not None
    old = msgspec.structs.replace(msgspec.json.decode(stored.value, type=SlotMap), version=7, since={})
    await store.put(PUBLISHED, msgspec.json.encode(old), expected=stored.revision)

    await control.assign({"eu/de/main/0": "c2"})

    newest = decode_signed(control.document or b"", KEY)
    assert newest.since["eu/de/main"] == [8, 7, 7, 7, 7, 7, 7, 7]
    missed = msgspec.structs.replace(old, version=5, groups={**old.groups, "eu/de/main": ["c1"] * 5 + ["c2"] * 3})
    for in_force in (old, missed):
        judge(newest, in_force, region="eu-central", slot_counts=GROUPS)


async def test_a_wanted_map_with_an_unknown_cell_is_not_published(store: SqliteControlStore) -> None:
    control = reconciler(store)
    await control.activate()
    groups = moved()
    groups["eu/de/main"][0] = "c9"
    await want(store, groups)

    await control.activate()

    assert control.version == 1
    assert "c9" in control.refusal


async def test_cells_that_moved_house_are_published_with_their_new_addresses(store: SqliteControlStore) -> None:
    await reconciler(store).activate()
    await want(store, moved(0))
    elsewhere = Placement(
        region="eu-central", cells={"c1": "h:11", "c2": "h:2", "studio": "h:3"}, groups=PLACEMENT.groups,
        preferred=PLACEMENT.preferred,
    )  # fmt: skip
    control = reconciler(store, elsewhere)

    await control.activate()

    published = decode_signed(control.document or b"", KEY)
    assert (published.cells["c1"].address, published.groups["eu/de/main"][0]) == ("h:11", "c2")


async def test_two_reconcilers_publish_a_change_once(store: SqliteControlStore) -> None:
    one, two = reconciler(store), reconciler(store)
    await one.activate()
    await two.activate()
    await want(store, moved(0))

    changed = [await one.activate(), await two.activate()]

    assert (changed, one.version, two.version) == ([True, False], 2, 2)


async def test_a_rotated_key_signs_the_same_version_anew(store: SqliteControlStore) -> None:
    await reconciler(store).activate()
    rotated = reconciler(store, key=b"n" * 32)

    changed = await rotated.activate()

    assert (changed, decode_signed(rotated.document or b"", b"n" * 32).version) == (False, 1)


async def test_a_damaged_document_stops_everything_and_is_left_as_it_is(store: SqliteControlStore) -> None:
    await store.put(PUBLISHED, b'{"half": ', expected=0)

    with pytest.raises(
        Corrupt, match=r"fault down control/eu-central, put a copy of control\.db back, or move it away .*heal"
    ):
        await reconciler(store).activate()

    stored = await store.get(PUBLISHED)
    assert stored is not None
    assert stored.value == b'{"half": '


@pytest.mark.parametrize(
    "slots", [{"c1": {"g/g/g": [0]}}, {"c1": {"g/g/g": [0, 1]}, "c2": {"g/g/g": [1]}}, {"c1": {"g/g/g": [0, 2]}}]
)
def test_a_first_map_with_a_slot_missing_or_taken_twice_is_refused(slots: dict[str, dict[str, list[int]]]) -> None:
    with pytest.raises(Invalid, match="g/g/g"):
        first_groups({"g/g/g": 2}, slots)


async def test_of_two_who_assign_at_once_the_slower_one_is_told_and_undoes_nothing(store: SqliteControlStore) -> None:
    """Each move publishes its slot: what another has wanted meanwhile must not be put back."""
    slow, quick = reconciler(store), reconciler(store)
    await slow.activate()
    read = slow._wanted

    async def and_then_another_is_quicker() -> Wanted:
        found = await read()
        await quick.assign({"eu/de/main/1": "c2"})
        return found

    slow._wanted = and_then_another_is_quicker  # type: ignore[method-assign]
    with pytest.raises(VersionConflict, match="changed meanwhile"):
        await slow.assign({"eu/de/main/0": "c2"})

    await quick.activate()
    assert list(quick.groups["eu/de/main"][:2]) == ["c1", "c2"]
