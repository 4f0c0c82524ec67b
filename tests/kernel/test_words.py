"""The kernel's words: strict to parse, total to order, and the same for ever on disk."""

import base64
import hmac
import json
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.kernel.errors import Denied, Invalid, Overloaded
from eisbach.kernel.events import EventDraft
from eisbach.kernel.hlc import SKEW_MAX_MS, HybridClock, hlc_ms
from eisbach.kernel.ids import derived_id, parse_id
from eisbach.kernel.ops import ItemChange, Op, decode_op, encode_op
from eisbach.kernel.routing import RegionState, route
from eisbach.kernel.slotmap import CellEntry, SlotMap, decode_signed, encode_signed, judge
from eisbach.kernel.slots import Group, Slot, slot_of
from eisbach.kernel.tokens import (
    SignedSession,
    mint_media_token,
    open_session,
    seal_session,
    verify_media_token,
)
from eisbach.kernel.versions import Mark, Version, covers, decode_position, encode_position, merged

GOLDEN = Path(__file__).parents[1] / "golden"
KEYS = {"k1": b"one" * 11, "k2": b"two" * 11}
NOW = 1_800_000_000


@given(st.text(max_size=30))
def test_a_slot_has_one_spelling(text: str) -> None:
    try:
        slot = Slot.parse(text)
    except Invalid:
        return

    assert str(slot) == text


@pytest.mark.parametrize(
    "text",
    [
        "eu/de/main/017",
        "eu/de/main/+1",
        "eu/de/main/-1",
        "eu/de/main/١",
        "eu/de/17",
        "EU/de/main/1",
        "eu//main/1",
        "eu/de/main/10000",
    ],
)
def test_other_spellings_of_a_slot_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Slot.parse(text)


def test_a_bare_number_is_told_how_a_slot_is_written() -> None:
    with pytest.raises(Invalid, match=r"slot '5' is not 'residency/market/cohort/number', e.g. 'eu/de/main/17'"):
        Slot.parse("5")


def test_accounts_land_where_they_always_did() -> None:
    """crc32 mod slots is a promise for life: these must never change."""
    group = Group("eu", "de", "main")

    found = [slot_of(account, group, 64).number for account in ("anon-1", "anon-2", "a", "")]

    assert found == [26, 32, 3, 0]


@pytest.mark.parametrize("text", ["", "..", "a/b", "a..b", "-a", "A", "a" * 65, "ä", "a b", "a\n"])
def test_ids_that_would_leave_a_folder_or_a_line_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_id(text, what="title")


def test_derived_ids_depend_on_every_part_and_on_where_it_ends() -> None:
    assert derived_id("s", "ab", "c") != derived_id("s", "a", "bc")
    assert parse_id(derived_id("s", "ab", "c"), what="session") == derived_id("s", "ab", "c")


marks = st.builds(Mark, st.integers(0, 3), st.integers(0, 3))
vectors = st.dictionaries(st.sampled_from(["a", "b", "c"]), marks, max_size=3)


@given(vectors, vectors)
def test_the_merged_vector_is_the_least_that_covers_both(one: dict[str, Mark], other: dict[str, Mark]) -> None:
    both = merged(one, other)

    assert covers(both, one)
    assert covers(both, other)
    assert all(mark in (one.get(o, Mark(0, 0)), other.get(o, Mark(0, 0))) for o, mark in both.items())


@given(vectors)
def test_a_position_survives_its_header(vector: dict[str, Mark]) -> None:
    assert decode_position(encode_position(vector)) == vector


@pytest.mark.parametrize("text", ["", "[]", '{"a":1}', '{"a":[1]}', '{"a":[-1,2]}', '{"a":[1,2]}' + " " * 600, "null"])
def test_what_is_not_a_position_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        decode_position(text)


steps = st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 2000), st.booleans()), max_size=40)


@given(steps)
def test_the_hybrid_clock_never_goes_back_and_never_runs_away(found: list[tuple[int, int, bool]]) -> None:
    wall, monotonic, last = 1_800_000_000_000, 0, 0
    clock = HybridClock(wall_ms=wall, monotonic_ms=0)
    anchor = wall
    for jump, passed, restart in found:
        wall, monotonic = wall + jump + passed, monotonic + passed
        if restart:
            anchor = max(wall, hlc_ms(clock.last)) - monotonic
            clock = HybridClock(wall_ms=wall, monotonic_ms=monotonic, persisted=clock.last)
        elif anchor == 1_800_000_000_000:
            anchor = 1_800_000_000_000
        try:
            stamp = clock.now(wall_ms=wall, monotonic_ms=monotonic)
        except Overloaded:
            continue

        assert stamp > last
        assert hlc_ms(stamp) - monotonic - anchor <= SKEW_MAX_MS
        last = stamp


def test_a_wall_clock_that_jumps_is_not_followed_and_said() -> None:
    clock = HybridClock(wall_ms=1_000_000, monotonic_ms=0)
    stamp = clock.now(wall_ms=9_000_000, monotonic_ms=10)

    assert (hlc_ms(stamp), clock.jumped) == (1_000_010, True)


def a_map(**changes: object) -> SlotMap:
    fields = {
        "region": "a", "version": 2, "issued_ms": 0, "cells": {"c1": CellEntry(address="h:1"), "c2": CellEntry(address="h:2")},
        "groups": {"eu/de/main": ["c1"] * 5 + ["c2"] * 5}, "preferred": {"eu/de/main": ["a"] * 10},
    }  # fmt: skip
    return SlotMap(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "candidate"),
    [
        ("it is for region 'b'", a_map(region="b", version=3)),
        ("not newer", a_map(version=2)),
        ("not newer", a_map(version=1)),
        ("empty", a_map(version=3, cells={})),
        ("empty", a_map(version=3, groups={})),
        ("has 9 of 10 slots", a_map(version=3, groups={"eu/de/main": ["c1"] * 9})),
        ("lacks preferred", a_map(version=3, preferred={})),
        ("unknown cells ['c9']", a_map(version=3, groups={"eu/de/main": ["c1"] * 5 + ["c2"] * 4 + ["c9"]})),
        ("without the bulk flag", a_map(version=3, groups={"eu/de/main": ["c1"] * 8 + ["c2"] * 2})),
    ],
)
def test_a_map_that_would_do_harm_is_refused(said: str, candidate: SlotMap) -> None:
    with pytest.raises(Invalid) as refused:
        judge(candidate, a_map(), region="a", slot_counts={"eu/de/main": 10})

    assert said in str(refused.value)
    assert "keep the last good one" in str(refused.value)


def steps(**changes: object) -> SlotMap:
    """Version 5: slots 0, 1 have been c2's since version 3, and 2, 3 since version 4."""
    since = {"eu/de/main": [3, 3, 4, 4, 2, 1, 1, 1, 1, 1]}
    groups = {"eu/de/main": ["c2"] * 4 + ["c1"] + ["c2"] * 5}
    return a_map(**{"version": 5, "groups": groups, "since": since, **changes})


def test_an_edge_that_missed_versions_takes_the_newest_if_it_had_taken_each_of_them() -> None:
    judge(steps(), a_map(), region="a", slot_counts={"eu/de/main": 10})


@pytest.mark.parametrize(
    ("said", "candidate"),
    [
        ("version 4 changes 3 of 10", steps(since={"eu/de/main": [3, 4, 4, 4, 2, 1, 1, 1, 1, 1]})),
        ("since version 2, but version 2", steps(since={"eu/de/main": [3, 2, 4, 4, 2, 1, 1, 1, 1, 1]})),
        ("since version 6", steps(since={"eu/de/main": [3, 6, 4, 4, 2, 1, 1, 1, 1, 1]})),
        ("9 of 10 slots since when", steps(since={"eu/de/main": [3] * 9})),
        ("0 of 10 slots since when", steps(since={"eu/at/main": [3] * 9})),
        ("version 4 changes 3", steps(since={"eu/de/main": [3, 4, 4, 4, 2, 1, 1, 1, 1, 1]}, bulk=True)),
    ],
)
def test_a_map_with_a_version_that_no_edge_would_have_taken_is_refused(said: str, candidate: SlotMap) -> None:
    with pytest.raises(Invalid, match=said):
        judge(candidate, a_map(), region="a", slot_counts={"eu/de/main": 10})


def test_an_earlier_version_with_the_bulk_flag_may_have_changed_everything() -> None:
    since = {"eu/de/main": [4] * 4 + [2, 1, 1, 1, 1, 1]}
    judge(steps(since=since, bulk_before=[4]), a_map(), region="a", slot_counts={"eu/de/main": 10})
    with pytest.raises(Invalid, match="version 4 changes 4"):
        judge(steps(since=since, bulk_before=[3]), a_map(), region="a", slot_counts={"eu/de/main": 10})


def test_a_newer_whole_map_is_taken_and_a_large_change_with_its_flag() -> None:
    judge(a_map(version=3), a_map(), region="a", slot_counts={"eu/de/main": 10})
    judge(
        a_map(version=3, bulk=True, groups={"eu/de/main": ["c2"] * 10}),
        a_map(),
        region="a",
        slot_counts={"eu/de/main": 10},
    )


def test_an_altered_or_unsigned_map_is_refused_at_every_byte() -> None:
    document = encode_signed(a_map(), b"key")
    assert decode_signed(document, b"key") == a_map()

    for place in range(len(document)):
        altered = document[:place] + bytes([document[place] ^ 1]) + document[place + 1 :]
        with pytest.raises(Invalid):
            decode_signed(altered, b"key")
    with pytest.raises(Invalid):
        decode_signed(document, b"other")


def a_large_map() -> SlotMap:
    names = [f"c{n}" for n in range(10_000)]
    cells = {name: CellEntry(address=f"10.0.{n // 256}.{n % 256}:8101") for n, name in enumerate(names)}
    return a_map(cells=cells, groups={"eu/de/main": names}, preferred={"eu/de/main": ["a"] * 10_000})


def test_a_map_of_10_000_cells_is_distributed_in_less_than_250_kb_and_read_as_it_was() -> None:
    document = encode_signed(a_large_map(), b"key")

    assert len(document) < 250_000
    assert decode_signed(document, b"key") == a_large_map()


def test_a_packed_map_that_is_cut_altered_or_a_bomb_is_refused() -> None:
    document = encode_signed(a_large_map(), b"key")
    bomb = zlib.compress(b"{" + b" " * (65 * 1024 * 1024))
    altered = [
        document[:place] + bytes([document[place] ^ 1]) + document[place + 1 :]
        for place in range(0, len(document), 997)
    ]

    for hostile in (document[:-1], document[:100], b"x", b"", bomb, *altered):
        with pytest.raises(Invalid, match="refused"):
            decode_signed(hostile, b"key")


HOSTILE = [
    "", ".", "...", "k1", "k1.1800000060.a", "k1.1800000060.a.", "k1.1_800000060.a.{s}", "k1.+1800000060.a.{s}",
    "k1.１８00000060.a.{s}", "k1.1800000060.A.{s}", "k1.1800000060.a..{s}", "k1.1800000060.a.{s}=", " k1.1800000060.a.{s}",
    "k1.1800000060.a.{s}\n", "K1.1800000060.a.{s}", "k9.1800000060.a.{s}", "k1.01800000060.a.{s}", "k1.180000006.a.{s}",
    "k1.1800000060.../a.{s}", "k1.1800000060.a%00.{s}", "none.1800000060.a.{s}", "k2.1800000060.a.{s}", "k1.1800000061.a.{s}",
    "k1.1800000060.b.{s}",
]  # fmt: skip


@pytest.mark.parametrize("form", HOSTILE)
def test_hostile_media_tokens_are_refused(form: str) -> None:
    signature = mint_media_token(KEYS["k1"], kid="k1", expiry=NOW + 60, scope="a").rpartition(".")[2]
    with pytest.raises(Denied):
        verify_media_token(KEYS, form.replace("{s}", signature), now=NOW)


@given(st.data())
def test_no_mutation_of_a_media_token_is_accepted(data: st.DataObject) -> None:
    token = mint_media_token(KEYS["k1"], kid="k1", expiry=NOW + 60, scope="asset-1")
    place = data.draw(st.integers(0, len(token) - 1))
    mutated = token[:place] + data.draw(st.text(max_size=3)) + token[place + data.draw(st.integers(0, 2)) :]
    if mutated == token:
        return

    with pytest.raises(Denied):
        verify_media_token(KEYS, mutated, now=NOW)


def test_a_media_token_works_until_it_expires_under_both_live_keys() -> None:
    for kid, key in KEYS.items():
        token = mint_media_token(key, kid=kid, expiry=NOW + 60, scope="a")
        assert verify_media_token(KEYS, token, now=NOW + 60).scope == "a"
        with pytest.raises(Denied, match="expired"):
            verify_media_token(KEYS, token, now=NOW + 61)
        with pytest.raises(Denied, match="not live"):
            verify_media_token({"k3": b""}, token, now=NOW)


@given(
    st.one_of(st.binary(max_size=64), st.binary(min_size=65, max_size=150)),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True),
)
def test_a_media_tokens_signature_is_hmac_sha256_as_the_origin_computes_it(key: bytes, scope: str) -> None:
    token = mint_media_token(key, kid="k1", expiry=NOW, scope=scope)

    text, _, signature = token.rpartition(".")
    theirs = base64.urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).rstrip(b"=").decode()
    assert signature == theirs


def test_a_playback_session_is_adopted_by_signature_alone_and_no_mutation_is() -> None:
    session = SignedSession("s-1", "acc", "p", "eu/de/main/1", "vod:a", "dev", 1, 2)
    sealed = seal_session(session, KEYS["k1"], kid="k1")

    assert open_session(KEYS, sealed) == session
    for place in range(len(sealed)):
        with pytest.raises(Denied):
            open_session(KEYS, sealed[:place] + ("x" if sealed[place] != "x" else "y") + sealed[place + 1 :])


REGIONS = {
    "c": RegionState(weight=100, healthy=True, distance={"de": 5, "at": 9}, residency="eu"),
    "w": RegionState(weight=100, healthy=True, distance={"de": 20, "at": 20}, residency="eu"),
    "u": RegionState(weight=100, healthy=True, distance={"us": 5}, residency="us"),
}


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        (["c", "w"], {"place": "de", "kind": "public", "residency": "eu"}),
        (["w", "c"], {"place": "de", "kind": "private", "residency": "eu", "preferred": "w"}),
        (["w", "c"], {"place": "de", "kind": "playback", "residency": "eu", "answering": "w"}),
        (["c", "w", "u"], {"place": "at", "kind": "public"}),
        (["u"], {"place": "de", "kind": "private", "residency": "us"}),
        ([], {"place": "de", "kind": "public", "residency": "ch"}),
    ],
)
def test_regions_are_tried_in_the_order_of_preference_then_place(wanted: list[str], asked: dict[str, str]) -> None:
    assert [hop.region for hop in route(REGIONS, **asked)] == wanted  # type: ignore[arg-type]


def test_an_unhealthy_or_evacuated_region_comes_last_and_if_all_look_bad_nothing_moves() -> None:
    ill = RegionState(weight=100, healthy=False, distance={"de": 5}, residency="eu")
    out = RegionState(weight=0, healthy=True, distance={"de": 1}, residency="eu")

    assert [h.region for h in route({**REGIONS, "c": ill}, place="de", kind="public", residency="eu")] == ["w", "c"]
    assert [h.region for h in route({"c": ill, "o": out}, place="de", kind="public")] == ["o", "c"]


def test_ops_of_the_first_format_are_read_for_ever() -> None:
    golden = json.loads((GOLDEN / "op-v1.json").read_text())

    for raw, op in zip(golden["raw"], [FULL, BARE], strict=True):
        assert decode_op(bytes.fromhex(raw)) == msgspec.structs.replace(op, format=1)


def test_ops_are_written_as_the_format_says() -> None:
    golden = json.loads((GOLDEN / "op-v2.json").read_text())

    assert [encode_op(op).hex() for op in (FULL, BARE, FIRST)] == golden["raw"]
    assert [decode_op(bytes.fromhex(raw)) for raw in golden["raw"]] == [FULL, BARE, FIRST]


FULL = Op(
    "eu/de/main/17", "eu-central", 3, 4711, 117_964_800_000_000_001,
    ItemChange("anon-1", "progress/p1/tears", b'{"pos_s":12}', Version(117_964_800_000_000_000, "eu-west", 9)),
    EventDraft("tv.playback.progress.recorded.v1", "tears", b"{}", 4700, None, "de", None), more=True,
)  # fmt: skip
BARE = Op("eu/de/main/0", "eu-west", 1, 1, 1, None, EventDraft("tv.x.v1", "s", b"{}"))
FIRST = Op("eu/de/main/0", "eu-west", 4, 1, 9, None, EventDraft("tv.x.v1", "s", b"{}", after=Mark(3, 4711)))
"""Since format 2: the first event of its type in an epoch."""
