"""Hostile events in the world: a stranger writes them into a hub's log, and a typed spoke has to live with them (P20).

Promises: the same events for every life of a hub, a good one among every four; each is handled once or set aside once.
May not know: faults, how the spoke's state is read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from eisbach.hub.authoring import spoke
from eisbach.kernel.errors import EisbachError
from eisbach.kernel.events import Event
from eisbach.kernel.ops import op_id
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Envelope, EventLog
from eisbach.ports.spoke import Effects, SpokeSpec

__all__ = ["STRICT", "Met", "events", "send", "strict", "unsettled"]

STRICT: Final = "strict"
_SOURCE, _SLOT, _COUNT = "stranger/nowhere", "eu/de/main/0", 24


class Met(msgspec.Struct, frozen=True):
    """What the spoke reads."""

    event_type = "tv.world.stranger.met.v1"
    n: int


def events() -> list[Event]:
    """One envelope full; each kind of bad, and every fourth good."""
    made = [
        Event(
            id=op_id(_SLOT, "stranger", 1, seq), source="//stranger/nowhere", type=Met.event_type, subject=f"s{seq}",
            time="2026-11-26T00:00:00.000Z", slot=_SLOT, origin="stranger", epoch=1, seq=seq, prev=seq - 1,
            hlc=seq << 16, data=msgspec.Raw(b'{"n":1}'), cell="nowhere",
        )
        for seq in range(1, _COUNT + 1)
    ]  # fmt: skip
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    bad: list[dict[str, object]] = [
        {"data": msgspec.Raw(b'{"n":"no number"}')},
        {"data": msgspec.Raw(b'{"eisbach_invalid":"payload of 99999 bytes"}')},
        {"data": msgspec.Raw(deep)},
        {"subject": "../../etc/passwd\x00\u202e", "data": msgspec.Raw(b"[1,2]")},
        {"data": msgspec.Raw(b'{"n":1e400}')},
        {"data": msgspec.Raw(b'{"n":' + b"9" * 5000 + b"}"), "market": "'; DROP TABLE dead; --"},
    ]
    return [
        event if event.seq % 4 == 0 else msgspec.structs.replace(event, **bad[event.seq % len(bad)]) for event in made
    ]


def strict() -> SpokeSpec:
    """The spoke: typed, two attempts, everything that is not what it reads is set aside."""

    @spoke(STRICT, on=Met, scope="everywhere", attempts_max=2)
    async def met(event: Event[Met], effects: Effects) -> None:
        known = await effects.get(event.subject)  # subjects are handled side by side: a list for each
        handled: list[str] = msgspec.json.decode(known, type=list[str]) if known else []
        effects.put(event.subject, msgspec.json.encode([*handled, event.id]))

    return met


async def send(log: EventLog, clock: Clock, *, times: int = 3) -> None:
    """Write them, again and again: as in a replay, or by a stranger who never tires."""
    sent: Sequence[Event] = events()
    for number in range(1, times + 1):
        try:
            last = await log.last(_SOURCE)
            envelope = Envelope(source=_SOURCE, first_lsn=number, last_lsn=number, events=list(sent))
            await log.append(envelope, expected=last.sequence)
        except EisbachError:
            pass  # a disk without room, a full hub: the next time, or the next life
        await clock.sleep(0.5)


def unsettled(met: Sequence[str], refused: Sequence[str]) -> Iterator[str]:
    """What is wrong with the ids that were handled and set aside; for a region that has settled."""
    wanted, found = Counter(event.id for event in events()), Counter([*met, *refused])
    if wrong := (wanted - found) + (found - wanted):
        yield f"lost hostile events, or settled them more than once: {sorted(wrong)[:5]}"
    if lost := {event.id for event in events() if event.seq % 4 == 0} & set(refused):
        yield f"set aside good events among hostile ones: {sorted(lost)[:5]}"
