"""One spoke of a host is broken on purpose: the others do not notice, and nothing of its own is lost or doubled."""

from collections import defaultdict
from typing import Any

import pytest

from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.testing.event_log_promises import an_event

TYPE = "tv.test.thing.happened.v1"


class Seen:
    def __init__(self) -> None:
        self.by: dict[str, list[int]] = defaultdict(list)

    def spec(self, name: str) -> SpokeSpec:
        async def handler(event: Event, effects: Effects) -> None:
            self.by[name].append(event.seq)

        return SpokeSpec(name=name, handler=handler, types=frozenset({TYPE}), scope="everywhere")


@pytest.mark.parametrize("kind", ["down", "hang"])
async def test_a_spoke_that_is_down_or_hangs_waits_and_goes_on_after_heal_and_its_neighbour_never_waited(
    hub: Any, kind: str
) -> None:
    seen = Seen()
    host = await hub.start(seen.spec("sick"), seen.spec("well"))
    await host.fault("sick", kind)

    await hub.publish(*[an_event(n) for n in range(1, 6)])
    await hub.idle(120)
    assert seen.by == {"well": [1, 2, 3, 4, 5]}

    await host.heal("sick")
    await hub.idle(120)
    assert seen.by["sick"] == [1, 2, 3, 4, 5]
    assert host.statistics()["spokes"]["sick"]["dead_letters"] == 0


async def test_a_slow_spoke_is_slow_and_its_neighbour_is_not(hub: Any) -> None:
    seen = Seen()
    host = await hub.start(seen.spec("sick"), seen.spec("well"))
    await host.fault("sick", "slow")

    await hub.publish(an_event(1))
    await hub.idle()
    assert seen.by == {"well": [1]}
    await hub.idle(3)

    assert seen.by["sick"] == [1]


async def test_a_killed_spoke_starts_again_by_itself(hub: Any) -> None:
    seen = Seen()
    host = await hub.start(seen.spec("sick"))

    await host.fault("sick", "kill")
    await hub.publish(an_event(1))
    await hub.idle(20)

    assert seen.by["sick"] == [1]


async def test_what_is_no_spoke_or_no_fault_is_refused_with_what_there_is(hub: Any) -> None:
    host = await hub.start(Seen().spec("sick"))

    with pytest.raises(NotFound, match="there are sick"):
        await host.fault("other", "down")
    with pytest.raises(Invalid, match="kill, down, hang, slow"):
        await host.fault("sick", "truncate")
