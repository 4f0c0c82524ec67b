"""What every engine of ``ports.event_log`` promises, as tests to inherit from.

Give a fixture ``host`` that satisfies ``EventLogHost``, and inherit ``EventLogPromises``.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from eisbach.kernel.errors import Invalid, VersionConflict
from eisbach.kernel.events import Event
from eisbach.kernel.ops import op_id
from eisbach.ports.event_log import Delivery, DurableSubscription, Envelope, EventLog

__all__ = ["EventLogHost", "EventLogPromises", "PipelinedLogPromises", "an_envelope", "an_event"]

SOURCE = "eu-central/c1"
OTHER = "eu-central/c2"


class EventLogHost(Protocol):
    """The place where the log lives, so that a test can restart and wipe it."""

    async def open(self) -> EventLog:
        """A log; closed by the host in the end."""
        ...

    async def restart(self) -> None:
        """Kill the place and start it again on the same files; ``open`` anew afterwards."""
        ...

    async def wipe(self) -> None:
        """The same, without the files."""
        ...


def an_event(seq: int, *, type_: str = "tv.test.thing.happened.v1", subject: str = "s1", data: bytes = b"{}") -> Event:
    """Event ``seq`` of a chain in which every seq has an event."""
    slot, origin = "eu/de/main/7", "eu-central"
    return Event(
        id=op_id(slot, origin, 1, seq),
        source="//eu-central/test",
        type=type_,
        subject=subject,
        time="2026-11-24T00:00:00.000Z",
        slot=slot,
        origin=origin,
        epoch=1,
        seq=seq,
        prev=seq - 1,
        hlc=seq << 16,
        data=msgspec.Raw(data),
    )


def an_envelope(lsn: int, *, source: str = SOURCE, events: int = 1) -> Envelope:
    """Events ``lsn`` to ``lsn + events - 1``."""
    chosen = [an_event(lsn + place) for place in range(events)]
    return Envelope(source=source, first_lsn=lsn, last_lsn=lsn + events - 1, events=chosen)


async def fill(log: EventLog, count: int, *, source: str = SOURCE, first: int = 1) -> list[int]:
    """Append ``count`` envelopes of one event; their sequences."""
    sequence = (await log.last(source)).sequence
    sequences = []
    for lsn in range(first, first + count):
        sequence = await log.append(an_envelope(lsn, source=source), expected=sequence)
        sequences.append(sequence)
    return sequences


async def take(subscription: DurableSubscription, count: int, *, ack: bool = True) -> list[Delivery]:
    """The next ``count`` deliveries, within ten seconds."""
    taken: list[Delivery] = []
    deliveries: AsyncIterator[Delivery] = subscription.__aiter__()
    async with asyncio.timeout(10):
        while len(taken) < count:
            delivery = await anext(deliveries)
            taken.append(delivery)
            if ack:
                await delivery.ack()
    return taken


def lsns(deliveries: list[Delivery]) -> list[int]:
    """What was delivered, in order."""
    return [delivery.envelope.first_lsn for delivery in deliveries]


async def backlog_of(log: EventLog, name: str, wanted: int) -> int:
    """The backlog as soon as it is ``wanted``, or what it still is after five seconds."""
    found = -1
    for _ in range(500):
        found = (await log.state())[name].backlog
        if found == wanted:
            break
        await asyncio.sleep(0.01)
    return found


class EventLogPromises:
    """Inherit it; each test gets a fresh ``host``."""

    async def test_an_unknown_source_has_no_last_envelope(self, host: EventLogHost) -> None:
        log = await host.open()

        last = await log.last(SOURCE)

        assert last == (0, 0)

    async def test_the_relays_cursor_is_kept_by_the_log(self, host: EventLogHost) -> None:
        log = await host.open()
        await log.append(an_envelope(1, events=3), expected=0)

        last = await log.last(SOURCE)

        assert last.last_lsn == 3

    async def test_an_acknowledged_append_survives_a_crash_of_the_log(self, host: EventLogHost) -> None:
        log = await host.open()
        sequences = await fill(log, 5)

        await host.restart()
        log = await host.open()

        assert (sequences[-1], 5) == await log.last(SOURCE)
        assert lsns(await take(await log.subscribe("reader"), 5)) == [1, 2, 3, 4, 5]

    async def test_an_append_after_another_than_the_last_sequence_is_refused(self, host: EventLogHost) -> None:
        log = await host.open()
        (first,) = await fill(log, 1)

        refused = await _refusal(log.append(an_envelope(2), expected=0))

        assert isinstance(refused, VersionConflict)
        assert (first, 1) == await log.last(SOURCE)

    async def test_sources_do_not_stand_in_each_others_way(self, host: EventLogHost) -> None:
        log = await host.open()
        await fill(log, 3)

        await log.append(an_envelope(1, source=OTHER), expected=0)

        assert (await log.last(SOURCE)).last_lsn == 3
        assert (await log.last(OTHER)).last_lsn == 1

    async def test_more_than_64_events_or_192_kib_are_refused(self, host: EventLogHost) -> None:
        log = await host.open()
        large = [an_event(n, data=b'"' + b"x" * 50_000 + b'"') for n in range(1, 5)]

        many = await _refusal(log.append(an_envelope(1, events=65), expected=0))
        much = await _refusal(log.append(Envelope(source=SOURCE, first_lsn=1, last_lsn=4, events=large), expected=0))

        assert [Invalid, Invalid] == [type(many), type(much)]

    async def test_an_event_comes_out_as_it_went_in(self, host: EventLogHost) -> None:
        log = await host.open()
        event = an_event(1, data='{"name":"Bär","n":[1,2]}'.encode())
        await log.append(Envelope(source=SOURCE, first_lsn=1, last_lsn=1, events=[event]), expected=0)

        (delivery,) = await take(await log.subscribe("reader"), 1)

        assert msgspec.json.encode(event) == msgspec.json.encode(delivery.envelope.events[0])

    async def test_a_subscription_from_the_start_gets_what_was_there_before_it(self, host: EventLogHost) -> None:
        log = await host.open()
        await fill(log, 20)

        taken = await take(await log.subscribe("reader"), 20)

        assert list(range(1, 21)) == lsns(taken)

    async def test_a_subscription_from_now_gets_only_what_comes(self, host: EventLogHost) -> None:
        log = await host.open()
        await fill(log, 3)

        subscription = await log.subscribe("reader", from_start=False)
        await fill(log, 2, first=4)

        assert lsns(await take(subscription, 2)) == [4, 5]

    async def test_a_forgotten_subscription_is_gone_and_begins_anew_when_it_is_made_again(
        self, host: EventLogHost
    ) -> None:
        log = await host.open()
        await fill(log, 3)
        kept, reader = await log.subscribe("kept"), await log.subscribe("reader")
        await take(reader, 2)
        await reader.aclose()

        await log.forget("reader")
        await log.forget("reader")
        await log.forget("never-there")
        names = set(await log.state())

        assert names == {"kept"}
        assert lsns(await take(await log.subscribe("reader"), 3)) == [1, 2, 3]
        assert lsns(await take(kept, 3)) == [1, 2, 3]

    async def test_every_subscription_gets_everything(self, host: EventLogHost) -> None:
        log = await host.open()
        one, other = await log.subscribe("one"), await log.subscribe("other")
        await fill(log, 3)

        assert lsns(await take(one, 3)) == [1, 2, 3]
        assert lsns(await take(other, 3)) == [1, 2, 3]

    async def test_a_subscription_goes_on_behind_what_it_acknowledged(self, host: EventLogHost) -> None:
        log = await host.open()
        first = await log.subscribe("reader")
        await fill(log, 4)
        await take(first, 2)
        await backlog_of(log, "reader", 2)
        await first.aclose()

        taken = await take(await log.subscribe("reader"), 2)

        assert lsns(taken) == [3, 4]

    async def test_a_subscription_opened_anew_reads_from_the_start_also_what_was_in_hand(
        self, host: EventLogHost
    ) -> None:
        log = await host.open()
        first = await log.subscribe("reader")
        await fill(log, 3)
        await take(first, 2)
        await backlog_of(log, "reader", 1)
        await take(first, 1, ack=False)
        await first.aclose()

        taken = await take(await log.subscribe("reader", anew=True), 3)

        assert lsns(taken) == [1, 2, 3]

    async def test_what_a_closed_reader_had_in_hand_goes_to_the_next_with_the_next_attempt_number(
        self, host: EventLogHost
    ) -> None:
        log = await host.open()
        first = await log.subscribe("reader")
        await fill(log, 1)
        await take(first, 1, ack=False)
        await first.aclose()

        (again,) = await take(await log.subscribe("reader"), 1)

        assert (again.envelope.first_lsn, again.attempt) == (1, 2)

    async def test_a_refused_delivery_comes_back_with_the_next_attempt_number(self, host: EventLogHost) -> None:
        log = await host.open()
        subscription = await log.subscribe("reader")
        await fill(log, 1)
        (first,) = await take(subscription, 1, ack=False)

        await first.nak(0)
        (again,) = await take(subscription, 1)

        assert (first.attempt, again.attempt) == (1, 2)

    async def test_no_more_deliveries_are_out_than_was_asked_for(self, host: EventLogHost) -> None:
        log = await host.open()
        subscription = await log.subscribe("reader", in_flight_max=2)
        await fill(log, 5)
        out = await take(subscription, 2, ack=False)

        third = asyncio.ensure_future(take(subscription, 1))
        done, _ = await asyncio.wait({third}, timeout=0.2)
        waited = not done
        await out[0].ack()

        assert waited
        assert lsns(await third) == [3]

    async def test_two_readers_of_one_name_share_its_deliveries(self, host: EventLogHost) -> None:
        log = await host.open()
        one = await log.subscribe("reader", in_flight_max=4)
        other = await log.subscribe("reader", in_flight_max=4)
        await fill(log, 8)

        seen = lsns(await take(one, 3)) + lsns(await take(other, 1))

        assert len(set(seen)) == 4

    async def test_the_state_tells_the_backlog_of_every_subscription(self, host: EventLogHost) -> None:
        log = await host.open()
        subscription = await log.subscribe("reader")
        await log.subscribe("idle")
        await fill(log, 5)
        await take(subscription, 2)

        backlogs = (await backlog_of(log, "reader", 3), await backlog_of(log, "idle", 5))

        assert backlogs == (3, 5)

    async def test_a_tail_shows_what_comes_from_now_on(self, host: EventLogHost) -> None:
        log = await host.open()
        await fill(log, 1)
        tail = await log.tail()
        shown = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)

        await fill(log, 1, first=2)

        async with asyncio.timeout(5):
            assert (await shown).first_lsn == 2

    async def test_a_wiped_log_starts_anew_and_old_subscriptions_read_on(self, host: EventLogHost) -> None:
        log = await host.open()
        subscription = await log.subscribe("reader")
        await fill(log, 3)
        await take(subscription, 3)

        await host.wipe()
        log = await host.open()
        before = await log.last(SOURCE)
        await fill(log, 2)

        assert before == (0, 0)
        assert lsns(await take(await log.subscribe("reader"), 2)) == [1, 2]


async def _refusal(call: object) -> BaseException | None:
    results = await asyncio.gather(call, return_exceptions=True)  # type: ignore[call-overload]
    found: BaseException | None = results[0] if isinstance(results[0], BaseException) else None
    return found


class PipelinedLogPromises:
    """Beside ``EventLogPromises``, for engines that are a ``PipelinedLog`` too."""

    async def test_appends_under_way_take_their_places_in_order_and_none_passes_one_that_was_refused(
        self, host: EventLogHost
    ) -> None:
        """Each expects the one before it to be the log's last: what a relay does that does not wait."""
        log: Any = await host.open()
        (last,) = await fill(log, 1)

        good = await asyncio.gather(
            *[log.append_behind(an_envelope(2 + n), expected=last + n) for n in range(4)], return_exceptions=True
        )
        wrong = await asyncio.gather(
            *[log.append_behind(an_envelope(6 + n), expected=last + 5 + n) for n in range(3)], return_exceptions=True
        )

        assert good == [last + 1 + n for n in range(4)]
        assert [type(outcome) for outcome in wrong] == [VersionConflict] * 3
        assert (await log.last(SOURCE)).last_lsn == 5

    async def test_when_another_sources_envelope_comes_between_none_of_ours_behind_it_is_taken(
        self, host: EventLogHost
    ) -> None:
        """Wherever it comes; a check of the source's own number alone would take every second one."""
        log: Any = await host.open()
        (last,) = await fill(log, 1)
        for place in range(4):
            before = (await log.last(SOURCE)).last_lsn
            theirs = (await log.last(OTHER)).sequence
            asked = [log.append_behind(an_envelope(before + 1 + n), expected=last + n) for n in range(4)]
            asked.insert(place, log.append(an_envelope(place + 1, source=OTHER), expected=theirs))
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            taken = [type(outcome) is int for n, outcome in enumerate(outcomes) if n != place]

            assert taken == [n < place for n in range(4)]
            assert (await log.last(SOURCE)).last_lsn == before + place
            last = (await fill(log, 1, first=before + place + 1))[0]
