"""The audit log: each event once, in a chain that tells when somebody changed it."""

import random
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.hub.events import AccountCreated, SessionStarted, TitlePublished
from eisbach.spokes.audit import AUDIT, AUDIT_KEPT, AuditEntry, audit, broken_at, entries_after, first_kept
from eisbach.testing.spoke_bench import SpokeBench, open_spoke_bench

module = sys.modules["eisbach.spokes.audit"]
TITLE = TitlePublished(id="wave", revision=1, names={"en": "Secret working name"})


@pytest.fixture
async def bench() -> AsyncIterator[SpokeBench]:
    async with open_spoke_bench(audit) as bench:
        yield bench


async def entries(bench: SpokeBench, after: int = 0, limit: int = 500) -> list[AuditEntry]:
    async def get(spoke: str, key: str) -> bytes | None:
        return await bench.state(spoke, key)

    return await entries_after(after, limit=limit, get=get)


async def test_every_event_is_in_the_log_once_whatever_its_region_and_however_often_it_comes(bench: SpokeBench) -> None:
    events = [await bench.publish(TITLE, subject=f"t{n}", origin=("eu-central", "eu-west")[n % 2]) for n in range(40)]
    for event in events[::3]:
        await bench.deliver(event)
    await bench.run_to_idle()

    log = await entries(bench)

    assert {entry.event for entry in log} == {event.id for event in events}
    assert [entry.number for entry in log] == list(range(1, 41))
    assert broken_at(log) is None


async def test_the_log_carries_ids_and_digests_and_no_payload(bench: SpokeBench) -> None:
    await bench.publish(TITLE, subject="wave")
    await bench.publish(AccountCreated(account="a-1", kind="anonymous", market="de"), subject="a-1")
    await bench.run_to_idle()

    raw = msgspec.json.encode(await entries(bench))

    assert b"a-1" in raw
    assert b"Secret" not in raw
    assert b"anonymous" not in raw


async def test_what_viewers_watch_is_not_audited() -> None:
    assert set(audit.types) & {kind.event_type for kind in (SessionStarted,)} == set()


async def test_pages_follow_each_other(bench: SpokeBench) -> None:
    for n in range(7):
        await bench.publish(TITLE, subject=f"t{n}")
    await bench.run_to_idle()

    first = await entries(bench, limit=4)
    second = await entries(bench, after=4, limit=4)

    assert [entry.number for entry in (*first, *second)] == list(range(1, 8))
    assert broken_at(second, after=first[-1]) is None
    assert broken_at(second, after=first[-2]) == 4
    assert audit.name == AUDIT


async def test_entries_go_when_they_are_old_or_too_many_and_what_is_left_still_follows(
    bench: SpokeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bench's events are a millisecond apart."""

    async def get(spoke: str, key: str) -> bytes | None:
        return await bench.state(spoke, key)

    async def publish(count: int) -> list[int]:
        for _ in range(count):
            await bench.publish(TITLE, subject="wave")
        await bench.run_to_idle()
        return [entry.number for entry in await entries(bench)]

    whole = await publish(12)
    monkeypatch.setattr(module, "AUDIT_KEPT", timedelta(milliseconds=3))
    by_age = await publish(1), await publish(2), await publish(3)
    monkeypatch.setattr(module, "AUDIT_KEPT", AUDIT_KEPT)
    monkeypatch.setattr(module, "AUDIT_ENTRIES_MAX", 2)
    by_number = await publish(1)
    log = await entries(bench)

    assert whole == list(range(1, 13))
    assert by_age == (list(range(5, 14)), list(range(12, 16)), list(range(15, 19)))  # at most four with each that came
    assert by_number == [18, 19]
    assert await first_kept(get) == 18
    assert (broken_at(log, first=18), broken_at(log), broken_at(log[1:], first=18)) == (None, 1, 18)
    assert await bench.state(AUDIT, "entry/000000000017") is None


def chain(count: int) -> list[AuditEntry]:
    from eisbach.spokes.audit import _digest

    found: list[AuditEntry] = []
    for number in range(1, count + 1):
        entry = AuditEntry(
            number=number, at_ms=number, event=f"e{number}", type="tv.x.v1", subject="s", origin="eu-central",
            market=None, data_sha256="ab" * 32, previous=found[-1].digest if found else "0" * 64,
        )  # fmt: skip
        found.append(msgspec.structs.replace(entry, digest=_digest(entry)))
    return found


@given(st.integers(2, 12), st.sampled_from(["change", "take out", "put in", "swap"]), st.randoms(use_true_random=False))
def test_an_entry_that_was_changed_taken_out_put_in_or_moved_is_told(
    count: int, how: str, chance: random.Random
) -> None:
    log = chain(count)
    place = chance.randrange(count - 1)
    if how == "change":
        log[place] = msgspec.structs.replace(log[place], subject="another")
    elif how == "take out":
        del log[place]
    elif how == "put in":
        log.insert(place, log[place])
    else:
        log[place], log[place + 1] = log[place + 1], log[place]

    assert broken_at(chain(count)) is None
    assert broken_at(log) in (place + 1, place + 2)
