"""What is in hand is prolonged until it is acknowledged, and is acknowledged once all of it is settled."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eisbach.hub.authoring import spoke
from eisbach.hub.intake import Intake
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope
from eisbach.ports.spoke import Effects
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock, settle

TYPE = "tv.test.thing.happened.v1"


class Hand:
    """A delivery that counts what is said of it."""

    def __init__(self, sequence: int) -> None:
        self.sequence, self.attempt, self.acks, self.prolonged = sequence, 1, 0, 0
        self.envelope = Envelope(source="eu-central/c1", first_lsn=1, last_lsn=1, events=[an_event(1)])

    async def ack(self) -> None:
        self.acks += 1

    async def nak(self, delay_s: float) -> None:
        raise AssertionError

    async def in_progress(self) -> None:
        self.prolonged += 1


class Subscription:
    def __init__(self, *hands: Hand) -> None:
        self._hands = hands

    async def __aiter__(self) -> AsyncIterator[Hand]:
        for hand in self._hands:
            yield hand

    async def aclose(self) -> None:
        return


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_what_waits_for_room_is_prolonged_as_what_is_at_work(clock: ManualClock) -> None:
    intake, waits, works = Intake(clock), Hand(1), Hand(2)
    await intake.read(Subscription(waits, works))
    prolonging = asyncio.create_task(intake.prolong())
    await settle()

    await clock.advance(7)
    await intake.acknowledge(works)
    await clock.advance(6)
    prolonging.cancel()
    await asyncio.gather(prolonging, return_exceptions=True)

    assert (waits.prolonged, waits.acks, works.prolonged, works.acks) == (4, 0, 2, 1)


async def test_a_wiped_log_that_counts_anew_disturbs_nothing_that_is_in_hand(clock: ManualClock) -> None:
    """The place of the second one was the first one's: both are in hand."""
    intake, before, after = Intake(clock), Hand(1), Hand(1)
    await intake.read(Subscription(before, after))

    await intake.acknowledge(before)
    await intake.acknowledge(after)

    assert (before.acks, after.acks) == (1, 1)


@pytest.mark.parametrize("broken", [True, False])
async def test_what_was_not_settled_is_not_acknowledged(clock: ManualClock, broken: bool) -> None:
    intake, hand = Intake(clock), Hand(1)
    await intake.read(Subscription(hand))

    async def settling() -> None:
        if broken:
            raise RuntimeError("the disk")

    await intake.acknowledge(hand, [asyncio.create_task(settling())])

    assert hand.acks == (0 if broken else 1)


async def test_a_backlog_is_taken_in_as_far_as_there_is_room_and_then_goes_on(hub) -> None:
    free, handled = asyncio.Event(), list[int]()

    @spoke("slow", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        await free.wait()
        handled.append(event.seq)

    for first in range(1, 321, 64):
        await hub.publish(*[an_event(n, subject=f"s{n}") for n in range(first, first + 64)])
    host = await hub.start(handler)
    await hub.idle(25)
    in_work = host.statistics()["spokes"]["slow"]["in_work"]
    free.set()
    await hub.idle()
    told = host.statistics()["spokes"]["slow"]

    assert in_work == 128, "two envelopes; the third waits until there is room"
    assert (sorted(handled), told["repeats"]) == (list(range(1, 321)), 0)
