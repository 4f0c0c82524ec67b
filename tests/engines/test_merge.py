"""The laws of merge: as properties of the pure rule, and of whole stores that exchange permuted, doubled, cut logs."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_stores import Stores

from eisbach.kernel.errors import LogGap
from eisbach.kernel.merge import Stored, judge
from eisbach.kernel.versions import Version, covers
from eisbach.ports.store import Lease, Store
from eisbach.testing.store_host import SLOT, items, put, remove, write

versions = st.builds(Version, hlc=st.integers(1, 5), origin=st.sampled_from("abc"), seq=st.integers(1, 3))


def merged(order: list[Version]) -> Stored | None:
    row: Stored | None = None
    for version in order:
        if judge(row, version, None).wins:
            row = Stored(*version, 0, "", live=True)
    return row


@given(st.lists(versions, min_size=1, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_merge_ends_at_the_highest_version_in_any_order_and_with_repeats(
    found: list[Version], chance: random.Random
) -> None:
    shuffled = [*found, *chance.choices(found, k=3)]
    chance.shuffle(shuffled)

    result = merged(shuffled)

    assert result is not None
    assert result.version == max(found)


@given(versions, versions, st.booleans())
def test_a_conflict_is_judged_alike_whoever_arrives_first(one: Version, other: Version, knew: bool) -> None:
    low, high = sorted((one, other))
    base = low if knew else None
    first = judge(Stored(*low, 0, "", live=True), high, base)
    second = judge(Stored(*high, *(base[:2] if base else (0, "")), live=True), low, None)

    assert first.conflict == second.conflict
    assert first.conflict == (low.origin != high.origin and not knew)


@given(versions, versions, versions)
def test_what_arrives_under_an_own_write_was_unknown_to_it_whatever_its_base(
    one: Version, other: Version, base: Version
) -> None:
    low, high = sorted((one, other))
    stored = Stored(*high, *base[:2], live=True)

    arriving = judge(stored, low, None, here=high.origin)

    assert arriving.conflict == (low.origin != high.origin)
    assert judge(stored, low, None, here="another") == judge(stored, low, None)


REGIONS = ("eu-central", "eu-west", "us-east")
steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "remove", "pull", "tick"]), st.integers(0, 2), st.integers(0, 2)),
    min_size=4,
    max_size=40,
)


async def _pull(source: Store, target: Store, chance: random.Random) -> None:
    """One batch, as a network would bring it: cut short, doubled, or late."""
    batch = (await source.ops_after(SLOT, await target.vector(SLOT), limit=chance.randint(1, 8))).ops
    if chance.random() < 0.2:
        batch = batch[chance.randint(0, len(batch)) :]
    for _ in range(chance.randint(1, 2)):
        try:
            await target.apply(SLOT, batch)
        except LogGap:
            return


@settings(max_examples=25)
@given(steps, st.randoms(use_true_random=False))
async def test_three_regions_converge_whatever_the_network_does(
    plan: list[tuple[str, int, int]], chance: random.Random
) -> None:
    with TemporaryDirectory() as folder:
        stores = Stores(Path(folder))
        opened = [await stores.open(region) for region in REGIONS]
        for store in opened:
            await store.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        written: dict[bytes, str] = {}
        for number, (step, one, other) in enumerate(plan):
            token = b"%d" % number
            if step == "write":
                written[token] = f"i{other}"
                await write(opened[one], put(f"i{other}", token))
            elif step == "remove":
                await write(opened[one], remove(f"i{other}"))
            elif step == "pull" and one != other:
                await _pull(opened[one], opened[other], chance)
            else:
                await stores.clock.advance(0.002)
        for _ in range(2):
            for source in opened:
                for target in opened:
                    while ops := (await source.ops_after(SLOT, await target.vector(SLOT), limit=50)).ops:
                        await target.apply(SLOT, ops)
        digests = [await store.digest(SLOT) for store in opened]
        states = [[(i.key, i.value, i.version) for i in await items(store)] for store in opened]
        vectors = [await store.vector(SLOT) for store in opened]

        assert digests[1:] == digests[:-1]
        assert states[1:] == states[:-1]
        assert all(covers(vector, vectors[0]) for vector in vectors)
        await _every_value_is_accounted_for(opened, written)
        await stores.aclose()


async def _every_value_is_accounted_for(opened: list[Store], written: dict[bytes, str]) -> None:
    """Each written value is live, or was replaced by a write that knew it, or lies in a conflict log."""
    alive = {item.value for item in await items(opened[0])}
    kept = {conflict.value for store in opened for conflict in await store.conflicts(limit=1000)}
    ops = (await opened[0].ops_after(SLOT, {}, limit=1000)).ops
    replaced = {op.change.base for op in ops if op.change is not None}
    versions = {op.change.value: op.version for op in ops if op.change is not None}
    lost = [v for v in written if v not in alive and v not in kept and versions[v] not in replaced]

    assert lost == []
