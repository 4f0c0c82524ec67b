"""How a spoke is written: a function and a decorator.

@spoke("notify", on="tv.catalog.title.published.v1", where={"market": "de"})
async def notify(event: Event, effects: Effects) -> None:
    effects.command("/studio/...", {...})
"""

from collections.abc import Callable, Iterable
from typing import Any

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import EVENT_TYPES_PREFIX
from eisbach.kernel.ids import parse_id
from eisbach.ports.spoke import SpokeHandler, SpokeSpec

__all__ = ["checked", "spoke"]


def spoke(name: str, *, on: str | Iterable[str], **policy: Any) -> Callable[[SpokeHandler], SpokeSpec]:
    """Make a handler a spoke.

    Args:
        name: of the durable subscription; another name is another spoke that starts from the beginning.
        on: event type or types.
        policy: the other fields of ``SpokeSpec``.

    Raises:
        Invalid: a name or type that is none, a bound that is broken.
    """
    types = frozenset([on] if isinstance(on, str) else on)

    def make(handler: SpokeHandler) -> SpokeSpec:
        return checked(SpokeSpec(name=name, handler=handler, types=types, **policy))

    return make


def checked(spec: SpokeSpec) -> SpokeSpec:
    """The spec, when its policy keeps the bounds.

    Raises:
        Invalid: naming the field and its value.
    """
    parse_id(spec.name, what="spoke")
    if "." in spec.name:
        raise Invalid(f"spoke {spec.name!r}: a subscription's name has no dots")
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
