"""P15: whatever befalls one spoke for an hour, no other one's delay changes; back again it drains, each effect once."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from eisbach.hub.authoring import spoke
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.testing.event_log_promises import an_event

TYPE = "tv.test.thing.happened.v1"
MINUTES, A_MINUTE = 60, 4
LANES = 7


class Two:
    """Two spokes on the same events, one of them sick; when each event was handled, in virtual milliseconds."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.failing = False
        self.at: dict[str, dict[int, int]] = {"sick": {}, "well": {}}
        self.order: dict[str, list[int]] = {"sick": [], "well": []}

    def spec(self, name: str) -> SpokeSpec:
        @spoke(name, on=TYPE, attempts_max=30, first_delay=timedelta(seconds=1))
        async def handler(event: Event, effects: Effects) -> None:
            if name == "sick" and self.failing:
                raise Unavailable(f"no luck with {event.seq}")
            self.at[name][event.seq] = self.clock.monotonic_ms()
            self.order[name].append(event.seq)
            effects.command(f"/{name}/{event.seq}", {})

        return handler


@pytest.mark.parametrize("kind", ["well", "down", "hang", "slow", "fails"])
async def test_an_hour_of_one_spokes_trouble_is_not_noticed_by_the_other_and_loses_and_doubles_nothing(
    hub: Any, kind: str
) -> None:
    """``well`` is the comparison: the healthy spoke's delays are those of a run without any trouble."""
    two, published = Two(hub.clock), {}
    host = await hub.start(two.spec("sick"), two.spec("well"))
    two.failing = kind == "fails"
    if kind in ("down", "hang", "slow"):
        await host.fault("sick", kind)
    for minute in range(MINUTES):
        first = minute * A_MINUTE + 1
        numbers = range(first, first + A_MINUTE)
        events = [msgspec.structs.replace(an_event(n), subject=f"s{n % LANES}") for n in numbers]
        published |= dict.fromkeys(numbers, hub.clock.monotonic_ms())
        await hub.publish(*events)
        await hub.idle(60)

    during = set(two.at["well"])
    two.failing = False
    if kind in ("down", "hang", "slow"):
        await host.heal("sick")
    for _ in range(20):
        await hub.idle(60)

    total = MINUTES * A_MINUTE
    assert during == set(range(1, total + 1))
    assert {two.at["well"][n] - published[n] for n in published} == {0}, "no event of the healthy spoke ever waited"
    for name in ("sick", "well"):
        assert sorted(two.order[name]) == list(range(1, total + 1))
        lanes = [[n for n in two.order[name] if n % LANES == lane] for lane in range(LANES)]
        assert lanes == [sorted(lane) for lane in lanes], "in order within each subject"
        sent = [path for path in hub.studio.paths if path.startswith(f"/{name}/")]
        assert len(sent) == len(set(sent)) == total
    assert await hub.store.dead_letters() == []


async def test_a_poison_event_ends_in_the_dead_letters_and_no_other_key_waited_for_it(hub: Any) -> None:
    handled: dict[int, int] = {}

    @spoke("one", on=TYPE, attempts_max=5)
    async def one(event: Event, effects: Effects) -> None:
        if event.seq == 3:
            raise RuntimeError("poison")
        handled[event.seq] = hub.clock.monotonic_ms()

    await hub.start(one)
    await hub.publish(*[msgspec.structs.replace(an_event(n), subject=f"s{n % 3}") for n in range(1, 31)])
    for _ in range(20):
        await hub.idle(60)

    (letter,) = await hub.store.dead_letters()
    others = {seq: at for seq, at in handled.items() if seq % 3}
    assert (letter.subject, len(letter.history)) == ("s0", 5)
    assert set(others.values()) == {0}
    assert sorted(handled) == [n for n in range(1, 31) if n != 3], "its own key went on behind it"
