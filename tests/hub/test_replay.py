"""Replay: what a spoke has handled, again; nothing else, not faster than asked, and commands under their old keys."""

import pytest

from eisbach.hub import replay as module
from eisbach.hub.authoring import spoke
from eisbach.hub.replay import ReplayWish
from eisbach.kernel.errors import Invalid, NotFound, Overloaded
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.testing.event_log_promises import an_event

TYPE = "tv.test.thing.happened.v1"


def recorder(**policy) -> tuple[SpokeSpec, list[int]]:
    handled: list[int] = []

    @spoke("one", on=TYPE, **policy)
    async def handler(event: Event, effects: Effects) -> None:
        handled.append(event.seq)
        effects.command(f"/{event.seq}", {})

    return handler, handled


async def test_a_dry_run_counts_and_does_nothing(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 6)])

    count = await host.replay("one", ReplayWish())
    await hub.idle(60)

    assert (count.chosen, count.read, handled) == (5, 5, [1, 2, 3, 4, 5])


async def test_what_was_handled_is_handled_again_in_order_and_commands_keep_their_keys(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 6)])
    await hub.publish(an_event(2), an_event(3), source="eu-central/c2")
    first = [key for _, _, key in hub.studio.calls]

    count = await host.replay("one", ReplayWish(dry_run=False))
    await hub.idle(60)
    again = [key for _, _, key in hub.studio.calls][len(first) :]

    assert count.chosen == 5
    assert handled == [1, 2, 3, 4, 5] * 2
    assert again == first


async def test_a_replay_keeps_to_its_rate(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n, subject=f"s{n}") for n in range(1, 11)])

    await host.replay("one", ReplayWish(rate=2, dry_run=False))
    await hub.idle(2.1)
    soon = len(handled) - 10
    await hub.idle(10)

    assert 4 <= soon <= 5
    assert len(handled) == 20


async def test_a_replay_survives_a_crash_of_the_host(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 6)])
    await host.replay("one", ReplayWish(rate=0.5, dry_run=False))

    await hub.stop()
    await hub.start(spec)
    await hub.idle(60)

    assert len(handled) == 10


async def test_what_was_not_handled_yet_or_is_another_spokes_is_left_alone(hub) -> None:
    spec, _ = recorder(where={"market": "at"})
    host = await hub.start(spec)
    await host.pause("one")
    await hub.publish(*[an_event(n) for n in range(1, 6)], an_event(6, type_="tv.test.other.v1"))

    count = await host.replay("one", ReplayWish())

    assert (count.chosen, count.read) == (0, 6)


async def test_only_the_wished_time_and_subject(hub) -> None:
    spec, _ = recorder()
    host = await hub.start(spec)
    events = [an_event(n, subject=f"s{n % 2}") for n in range(1, 7)]  # event n was written in millisecond n
    await hub.publish(*events)

    late = await host.replay("one", ReplayWish(from_ms=4, to_ms=6))
    odd = await host.replay("one", ReplayWish(subject="s1"))

    assert (late.chosen, odd.chosen) == (2, 3)


async def test_too_much_at_once_is_refused_and_nothing_is_done(hub, monkeypatch) -> None:
    monkeypatch.setattr(module, "REPLAY_MAX", 3)
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 6)])

    with pytest.raises(Overloaded, match="over 3"):
        await host.replay("one", ReplayWish(dry_run=False))
    with pytest.raises(Invalid, match="out of bounds"):
        await host.replay("one", ReplayWish(rate=0))
    await hub.idle(60)

    assert len(handled) == 5


async def test_a_replay_from_an_event_takes_it_and_what_came_after_it(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    events = [an_event(n) for n in range(1, 6)]
    await hub.publish(*events)

    count = await host.replay("one", ReplayWish(from_event=events[2].id, dry_run=False))
    await hub.idle(60)

    assert count.chosen == 3
    assert handled == [1, 2, 3, 4, 5, 3, 4, 5]


async def test_a_replay_from_an_event_that_the_hub_does_not_hold_does_nothing_and_says_so(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(an_event(1))

    with pytest.raises(NotFound, match="keeps seven days"):
        await host.replay("one", ReplayWish(from_event="x:y:1:9", dry_run=False))
    await hub.idle(60)

    assert handled == [1]


async def test_a_replay_leaves_no_subscription_behind_also_when_it_is_refused(
    hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = recorder()
    host = await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 6)])
    await hub.idle(5)

    await host.replay("one", ReplayWish())
    after_one = set(await hub.log.state())
    monkeypatch.setattr(module, "REPLAY_MAX", 2)
    with pytest.raises(Overloaded):
        await host.replay("one", ReplayWish())

    assert after_one == set(await hub.log.state()) == {"one"}


async def test_what_a_crash_left_of_replays_is_forgotten_and_no_spoke_is_named_like_one(hub) -> None:
    await hub.start(recorder()[0])
    for name in ("replay-one", "replay-other"):
        await hub.log.subscribe(name)

    assert await module.forget_replays(hub.log) == 2
    assert set(await hub.log.state()) == {"one"}
    with pytest.raises(Invalid, match="not begin with 'replay-'"):
        spoke("replay-one", on=TYPE)(lambda event, effects: None)
