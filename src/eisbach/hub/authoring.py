"""How a spoke is written: a function and a decorator.

@spoke("notify", on=TitlePublished, where={"market": "de"})
async def notify(event: Event[TitlePublished], effects: Effects) -> None:
    effects.command("/studio/...", {...})

Named by its type, the payload comes decoded and upcast; one that does not fit is a dead letter with the path of the
fault, and the handler never sees it. Named by strings, the handler gets the payload as raw JSON.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.event_types import names_of, read_data
from eisbach.kernel.events import EVENT_TYPES_PREFIX, Event
from eisbach.kernel.ids import parse_id
from eisbach.ports.spoke import REPLAY_PREFIX, Effects, SpokeHandler, SpokeSpec

__all__ = ["Effects", "Event", "Policy", "checked", "spoke"]

P = TypeVar("P", bound=msgspec.Struct)


class Policy(TypedDict, total=False):
    """The other fields of ``SpokeSpec``, which says what they mean."""

    scope: str
    where: Mapping[str, str]
    concurrency_max: int
    attempts_max: int
    waits_behind_failure: bool
    first_delay: timedelta
    time_limit: timedelta


@overload
def spoke(
    name: str, *, on: type[P], **policy: Unpack[Policy]
) -> Callable[[Callable[[Event[P], Effects], Awaitable[None]]], SpokeSpec]: ...
@overload
def spoke(name: str, *, on: str | Iterable[str], **policy: Unpack[Policy]) -> Callable[[SpokeHandler], SpokeSpec]: ...
def spoke(
    name: str, *, on: type[msgspec.Struct] | str | Iterable[str], **policy: Unpack[Policy]
) -> Callable[[Any], SpokeSpec]:
    """Make a handler a spoke.

    Args:
        name: of the durable subscription; another name is another spoke that starts from the beginning.
        on: a payload type (``eisbach.hub.events``), read in all its versions; or names of event types.
        policy: the other fields of ``SpokeSpec``.

    Raises:
        Invalid: a name or type that is none, a bound that is broken.
    """
    types = frozenset(names_of(on)) if isinstance(on, type) else frozenset([on] if isinstance(on, str) else on)

    def make(handler: Any) -> SpokeSpec:
        called = _typed(handler, on) if isinstance(on, type) else handler
        return checked(SpokeSpec(name=name, handler=called, types=types, **policy))

    return make


def _typed(handler: Callable[[Event[P], Effects], Awaitable[None]], kind: type[P]) -> SpokeHandler:
    async def called(event: Event, effects: Effects) -> None:
        data = read_data(event, kind)
        typed: Any = msgspec.structs.replace(event, data=data)
        await handler(typed, effects)

    return called


def checked(spec: SpokeSpec) -> SpokeSpec:
    """The spec, when its policy keeps the bounds.

    Raises:
        Invalid: naming the field and its value.
    """
    parse_id(spec.name, what="spoke")
    if "." in spec.name or spec.name.startswith(REPLAY_PREFIX):
        raise Invalid(f"spoke {spec.name!r}: its name may have no dots, and not begin with {REPLAY_PREFIX!r}")
    if not spec.types or not all(type_.startswith(EVENT_TYPES_PREFIX) for type_ in spec.types):
        raise Invalid(f"spoke {spec.name}: types {sorted(spec.types)} are not all {EVENT_TYPES_PREFIX}…")
    if spec.scope not in ("home", "everywhere"):
        raise Invalid(f"spoke {spec.name}: scope {spec.scope!r} is not 'home' or 'everywhere'")
    if unknown := set(spec.where) - {"market", "origin", "slot", "subject", "cell"}:
        raise Invalid(f"spoke {spec.name}: where names {sorted(unknown)}, which no event carries")
    if not 1 <= spec.attempts_max <= 30:
        raise Invalid(f"spoke {spec.name}: attempts_max is {spec.attempts_max}; use 1 to 30")
    if not 1 <= spec.concurrency_max <= 256:
        raise Invalid(f"spoke {spec.name}: concurrency_max is {spec.concurrency_max}; use 1 to 256")
    if min(spec.time_limit.total_seconds(), spec.first_delay.total_seconds()) <= 0:
        raise Invalid(f"spoke {spec.name}: time_limit and first_delay must be over zero")
    return spec
