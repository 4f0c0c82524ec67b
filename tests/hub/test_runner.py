"""Durable spokes: effects once and in order, failures set apart, crashes harmless."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from eisbach.hub.authoring import spoke
from eisbach.hub.runner import GAP_PATIENCE
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.testing.event_log_promises import an_event

TYPE = "tv.test.thing.happened.v1"
SECOND = timedelta(seconds=1)


def recorder(name: str = "recorder", **policy: object) -> tuple[SpokeSpec, list[int]]:
    handled: list[int] = []

    @spoke(name, on=TYPE, **policy)
    async def handler(event: Event, effects: Effects) -> None:
        handled.append(event.seq)
        effects.command(f"/studio/{name}/{event.seq}", {"seq": event.seq})

    return handler, handled


def failing(times: int, *, poison: int = 1, **policy: object) -> tuple[SpokeSpec, list[int]]:
    """Fails ``times`` at event ``poison``, else succeeds."""
    tried: list[int] = []

    @spoke("fragile", on=TYPE, **policy)
    async def handler(event: Event, effects: Effects) -> None:
        tried.append(event.seq)
        if event.seq == poison and tried.count(poison) <= times:
            raise RuntimeError(f"no luck with {event.seq}")
        effects.command(f"/studio/{event.seq}", {})

    return handler, tried


async def test_every_event_is_handled_once_and_its_command_sent_once(hub) -> None:
    spec, handled = recorder()
    await hub.start(spec)

    await hub.publish(*[an_event(n) for n in range(1, 11)])
    await hub.idle()

    assert handled == list(range(1, 11))
    assert hub.studio.paths == [f"/studio/recorder/{n}" for n in range(1, 11)]
    assert (await hub.log.state())["recorder"].backlog == 0


async def test_an_event_delivered_again_has_no_second_effect(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(an_event(1), an_event(2))

    await hub.publish(an_event(1), an_event(2), source="eu-central/c2")
    await hub.idle()

    assert handled == [1, 2]
    assert host.statistics()["spokes"]["recorder"]["repeats"] == 2


async def test_after_a_crash_in_a_handler_the_event_comes_again_and_has_its_effect_once(hub) -> None:
    stuck = asyncio.Event()
    tries: list[int] = []

    @spoke("slow", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        tries.append(event.seq)
        effects.command("/studio/done", {})
        if len(tries) == 1:
            await stuck.wait()

    await hub.start(handler)
    await hub.publish(an_event(1))

    await hub.stop()
    await hub.start(handler)
    await hub.idle()

    assert (tries, hub.studio.paths) == ([1, 1], ["/studio/done"])


async def test_what_one_event_settles_does_not_cover_another_that_is_still_in_work(hub) -> None:
    """P3: the second one's mark must not say that the first is done; a crash would then lose it."""
    stuck = asyncio.Event()
    tries: list[int] = []

    @spoke("two", on=TYPE, concurrency_max=2)
    async def handler(event: Event, effects: Effects) -> None:
        tries.append(event.seq)
        if event.seq == 1 and tries.count(1) == 1:
            await stuck.wait()
        effects.command(f"/studio/{event.seq}", {})

    await hub.start(handler)
    await hub.publish(an_event(1, subject="s1"), an_event(2, subject="s2"))
    await hub.idle()
    assert hub.studio.paths == ["/studio/2"]

    await hub.stop()
    await hub.start(handler)
    await hub.idle()

    assert hub.studio.paths == ["/studio/2", "/studio/1"]


async def test_a_repeat_of_an_event_in_work_is_acknowledged_with_it_and_not_before(hub) -> None:
    stuck = asyncio.Event()

    @spoke("slow", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        await stuck.wait()

    await hub.start(handler)
    await hub.publish(an_event(1))
    await hub.publish(an_event(1), source="eu-central/c2")
    await hub.idle()
    in_work = (await hub.log.state())["slow"].backlog
    stuck.set()
    await hub.idle()

    assert (in_work, (await hub.log.state())["slow"].backlog) == (2, 0)


async def test_a_command_that_was_written_is_sent_after_a_crash_under_the_same_key(hub) -> None:
    spec, _ = recorder()
    keys: list[str] = []
    hub.studio.answer = lambda _: Unavailable("no studio")
    await hub.start(spec)
    await hub.publish(an_event(1))
    (before,) = await hub.store.commands(limit=9)

    await hub.stop()
    hub.studio.answer = lambda _: None
    await hub.start(spec)
    await hub.idle(15)

    assert [key for _, _, key in hub.studio.calls] == [before.key]
    assert keys == []
    assert before.key.startswith("cmd-")


async def test_a_failing_event_is_tried_again_with_growing_delay(hub) -> None:
    spec, tried = failing(3, first_delay=SECOND)
    await hub.start(spec)
    await hub.publish(an_event(1))
    first = list(tried)

    await hub.idle(60)

    assert (first, tried) == ([1], [1, 1, 1, 1])
    assert hub.studio.paths == ["/studio/1"]


async def test_a_poison_event_ends_in_the_dead_letters_while_other_subjects_go_on(hub) -> None:
    spec, _ = failing(99, attempts_max=3)
    await hub.start(spec)
    await hub.publish(an_event(1, subject="poison"), *[an_event(n, subject=f"s{n}") for n in range(2, 6)])
    meanwhile = sorted(hub.studio.paths)

    await hub.idle(120)
    (letter,) = await hub.store.dead_letters()

    assert meanwhile == [f"/studio/{n}" for n in range(2, 6)]
    assert (letter.event_id, len(letter.history)) == (an_event(1).id, 3)
    assert letter.reason == "RuntimeError: no luck with 1"


async def test_a_refused_event_is_a_dead_letter_at_once(hub) -> None:
    @spoke("strict", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        raise Invalid("field 'asset' is missing")

    await hub.start(handler)
    await hub.publish(an_event(1))

    (letter,) = await hub.store.dead_letters()

    assert letter.reason == "Invalid: field 'asset' is missing"


async def test_events_of_a_failing_subject_wait_behind_it_in_order(hub) -> None:
    spec, tried = failing(1, first_delay=SECOND)
    await hub.start(spec)
    await hub.publish(*[an_event(n) for n in range(1, 5)])
    before = list(tried)

    await hub.idle(5)

    assert (before, tried) == ([1], [1, 1, 2, 3, 4])


async def test_held_events_survive_a_crash_and_keep_their_attempts(hub) -> None:
    spec, tried = failing(99, attempts_max=3, first_delay=SECOND)
    await hub.start(spec)
    await hub.publish(an_event(1), an_event(2))

    await hub.stop()
    await hub.start(spec)
    await hub.idle(60)

    assert tried == [1, 1, 1, 2]
    assert len(await hub.store.dead_letters()) == 1


async def test_a_handler_beyond_its_time_limit_has_failed(hub) -> None:
    @spoke("slow", on=TYPE, time_limit=timedelta(milliseconds=5), attempts_max=1)
    async def handler(event: Event, effects: Effects) -> None:
        await asyncio.Event().wait()

    await hub.start(handler)
    await hub.publish(an_event(1))

    async def dead() -> bool:
        return bool(await hub.store.dead_letters())

    await hub.until(dead)
    assert "not done within" in (await hub.store.dead_letters())[0].reason


async def test_one_spoke_that_hangs_does_not_hold_up_another(hub) -> None:
    @spoke("hanging", on=TYPE)
    async def hanging(event: Event, effects: Effects) -> None:
        await asyncio.Event().wait()

    spec, handled = recorder()
    await hub.start(hanging, spec)

    await hub.publish(*[an_event(n) for n in range(1, 30)])
    await hub.idle()

    assert handled == list(range(1, 30))


async def test_no_more_events_are_in_work_than_allowed(hub) -> None:
    most, now = 0, 0
    gate = asyncio.Event()

    @spoke("bounded", on=TYPE, concurrency_max=3)
    async def handler(event: Event, effects: Effects) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await gate.wait()
        now -= 1

    await hub.start(handler)
    await hub.publish(*[an_event(n, subject=f"s{n}") for n in range(1, 20)])
    gate.set()
    await hub.idle()

    assert (most, now) == (3, 0)


async def test_an_event_before_its_predecessor_waits_for_it(hub) -> None:
    """A slot moved: the new cell's envelope overtakes the rest of the old cell's."""
    spec, handled = recorder()
    await hub.start(spec)
    await hub.publish(an_event(2), source="eu-central/c2")
    before = list(handled)

    await hub.publish(an_event(1), source="eu-central/c1")
    await hub.idle()

    assert (before, handled) == ([], [1, 2])


async def test_an_event_does_not_overtake_one_of_its_subject_although_another_subject_lies_between(hub) -> None:
    """Found by the simulated world once a broker redelivered out of order: 2 waited for 1, and 3 overtook both."""
    spec, handled = recorder()
    await hub.start(spec)
    await hub.publish(an_event(2, subject="other"), source="eu-central/c2")
    await hub.publish(an_event(3), source="eu-central/c2")
    before = list(handled)

    await hub.publish(an_event(1), source="eu-central/c1")
    await hub.idle()

    assert (before, handled) == ([], [1, 2, 3])


async def test_what_waits_for_a_predecessor_does_not_go_before_it_while_its_subject_is_at_work(hub) -> None:
    """Found by the simulated world: 3 stood behind 1, which was in work; 2 came, queued behind 3, and went after it."""
    handled: list[int] = []
    done = asyncio.Event()

    @spoke("recorder", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        if event.seq == 1:
            await done.wait()
        handled.append(event.seq)

    await hub.start(handler)
    await hub.publish(an_event(1), source="eu-central/c1")
    await hub.publish(an_event(3), an_event(4), source="eu-central/c2")
    await hub.publish(an_event(2), source="eu-central/c1")
    done.set()
    await hub.idle()

    assert handled == [1, 2, 3, 4]


async def test_a_predecessor_that_never_comes_is_outwaited_and_still_handled_when_it_does(hub) -> None:
    spec, handled = recorder()
    host = await hub.start(spec)
    await hub.publish(an_event(2), source="eu-central/c2")

    await hub.idle(29)
    waited = list(handled)
    await hub.idle(2)
    outwaited = list(handled)
    await hub.publish(an_event(1), source="eu-central/c1")
    await hub.idle()

    assert (waited, outwaited, handled) == ([], [2], [2, 1]), "P3 says 30 s"
    assert host.statistics()["spokes"]["recorder"]["gaps_outwaited"] == 1


async def test_events_of_a_new_epoch_wait_for_the_last_of_the_old_one_but_not_for_ever(hub) -> None:
    """The tail of an owner that was lost may never come; when it does come after all, it is handled."""
    spec, handled = recorder()
    host = await hub.start(spec)
    moved = msgspec.structs.replace(an_event(1), id="moved", epoch=2, after="1:1", hlc=9 << 16)
    lost = msgspec.structs.replace(
        an_event(2, subject="other"), id="never-came", slot="eu/de/main/8", epoch=2, prev=0, after="1:7"
    )
    await hub.publish(moved, lost, source="eu-central/c2")
    before = list(handled)

    await hub.publish(an_event(1), source="eu-central/c1")
    await hub.idle()
    waited = list(handled)
    await hub.idle(GAP_PATIENCE.total_seconds() + 1)

    assert (before, waited, handled) == ([], [1, 1], [1, 1, 2])
    assert host.statistics()["spokes"]["recorder"]["gaps_outwaited"] == 1


async def test_a_home_spoke_leaves_other_regions_events_alone(hub) -> None:
    home, at_home = recorder("home")
    everywhere, seen = recorder("everywhere", scope="everywhere")
    await hub.start(home, everywhere)

    await hub.publish(msgspec.structs.replace(an_event(1), origin="eu-west"))
    await hub.idle()

    assert (at_home, seen) == ([], [1])


async def test_a_filter_skips_events_without_leaving_gaps(hub) -> None:
    spec, handled = recorder(where={"market": "de"})
    await hub.start(spec)

    await hub.publish(*[msgspec.structs.replace(an_event(n), market="de" if n % 2 else "at") for n in range(1, 8)])
    await hub.idle()

    assert handled == [1, 3, 5, 7]


async def test_state_is_written_with_the_mark_and_read_back(hub) -> None:
    @spoke("counter", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        count = int(await effects.get("count") or b"0") + 1
        effects.put("count", str(count).encode())

    await hub.start(handler)
    await hub.publish(*[an_event(n) for n in range(1, 6)])
    await hub.idle()

    assert await hub.store.get("counter", "count") == b"5"


async def test_a_refused_command_is_a_dead_letter_and_those_behind_it_go_on(hub) -> None:
    spec, _ = recorder()
    hub.studio.answer = lambda path: Invalid("no such asset") if path.endswith("/1") else None
    await hub.start(spec)

    await hub.publish(an_event(1), an_event(2))
    await hub.idle()

    assert hub.studio.paths == ["/studio/recorder/2"]
    assert [(d.kind, d.reason) for d in await hub.store.dead_letters()] == [("command", "Invalid: no such asset")]


async def test_a_redriven_event_is_handled(hub) -> None:
    spec, tried = failing(1, attempts_max=1)
    host = await hub.start(spec)
    await hub.publish(an_event(1))
    (letter,) = await hub.store.dead_letters()

    await host.redrive(letter.number)
    await hub.idle()

    assert (tried, hub.studio.paths) == ([1, 1], ["/studio/1"])
    assert await hub.store.dead_letters() == []


async def test_a_redriven_command_is_sent(hub) -> None:
    spec, _ = recorder()
    hub.studio.answer = lambda _: Invalid("not yet")
    host = await hub.start(spec)
    await hub.publish(an_event(1))
    await hub.idle()
    (letter,) = await hub.store.dead_letters()

    hub.studio.answer = lambda _: None
    await host.redrive(letter.number)
    await hub.idle()

    assert hub.studio.paths == ["/studio/recorder/1"]
    assert hub.studio.calls[0][1] == b'{"seq":1}'


@pytest.mark.parametrize(
    "policy", [{"attempts_max": 31}, {"concurrency_max": 0}, {"scope": "moon"}, {"where": {"colour": "red"}}]
)
def test_a_policy_out_of_bounds_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        recorder(**policy)
