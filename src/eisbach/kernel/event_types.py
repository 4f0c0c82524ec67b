"""Event types: payload structs with a stable name, what fits them, and how old versions are read.

A payload type is a msgspec struct with ``event_type`` (``tv.….vN``, never a Python path); beside it, ``earlier`` maps
the names of versions it replaced to upcasters, functions from that version's JSON object to this one's.
Promises: what a publisher sends fits its type or is refused with the path of the fault; what any released version wrote
can still be read. Pure; nothing is registered at import: a registry is made from a list.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import EVENT_TYPES_PREFIX, Event, EventDraft

__all__ = ["EventData", "EventTypes", "Upcaster", "names_of", "read_data"]

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From the JSON object of one earlier version to the present one's."""

_NAME_CHARS: Final = 120


class EventData(Protocol):
    """What a payload type has beside its fields."""

    event_type: ClassVar[str]


P = TypeVar("P", bound=msgspec.Struct)


def names_of(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The type's name, then the names of the versions it reads.

    Raises:
        Invalid: the class has no ``event_type``, or one that is not ``tv.….vN``.
    """
    name = getattr(kind, "event_type", None)
    names = (name, *earlier_of(kind))
    for found in names:
        if not isinstance(found, str) or not _is_name(found):
            raise Invalid(f"{kind.__name__}.event_type is {found!r}; name it {EVENT_TYPES_PREFIX}….vN")
    return cast("tuple[str, ...]", names)


def earlier_of(kind: type[msgspec.Struct]) -> Mapping[str, Upcaster]:
    """Upcasters by the name of the version that they read."""
    return cast("Mapping[str, Upcaster]", getattr(kind, "earlier", {}))


def read_data(event: Event[msgspec.Raw], kind: type[P]) -> P:
    """The payload as ``kind``, upcast when an earlier version wrote it.

    Raises:
        Invalid: it does not fit; the message has the path, e.g. ``$.rights[0].from_ms``. The event is poison.
    """
    upcast = earlier_of(kind).get(event.type)
    try:
        if upcast is None:
            return msgspec.json.decode(event.data, type=kind)
        return msgspec.convert(upcast(msgspec.json.decode(event.data, type=dict[str, Any])), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        raise Invalid(f"event {event.id} ({event.type}) is not a {kind.__name__}: {said}") from error


class EventTypes:
    """A registry: which types there are. Never changes."""

    def __init__(self, kinds: Iterable[type[msgspec.Struct]]) -> None:
        """Take them.

        Raises:
            Invalid: a class without a proper name, or two for one name.
        """
        self._kinds: dict[str, type[msgspec.Struct]] = {}
        self._decoders: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {}
        reads: set[str] = set()
        for kind in kinds:
            for name in names_of(kind):
                if name in reads:
                    raise Invalid(f"event type {name} has two classes, {kind.__name__} is the second; a name has one")
                reads.add(name)
            name = names_of(kind)[0]
            self._kinds[name], self._decoders[name] = kind, msgspec.json.Decoder(kind)

    @property
    def kinds(self) -> Mapping[str, type[msgspec.Struct]]:
        """Payload types by name, sorted."""
        return dict(sorted(self._kinds.items()))

    def check(self, draft: EventDraft) -> None:
        """Whether it may be published.

        Raises:
            Invalid: no such type (an earlier version may be read, never written), or it does not fit; says where.
        """
        decoder = self._decoders.get(draft.type)
        if decoder is None:
            raise Invalid(
                f"event type {draft.type[:_NAME_CHARS]!r} is not registered; eisbach events schemas lists them"
            )
        if draft.dataref is not None:
            return  # a claim check: what was claimed is judged where it is fetched
        try:
            decoder.decode(draft.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"event {draft.type} of {draft.subject[:_NAME_CHARS]!r} does not fit: {error}") from error

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a type's payload.

        Raises:
            Invalid: no such type.
        """
        kind = self._kinds.get(name)
        if kind is None:
            raise Invalid(
                f"event type {name[:_NAME_CHARS]!r} is not registered; there are {', '.join(sorted(self._kinds))}"
            )
        (root,), definitions = msgspec.json.schema_components([kind])
        own = definitions.pop(kind.__name__, root)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:eisbach:event:{name}", **own}
        return {**schema, "$defs": definitions} if definitions else schema


def _is_name(name: str) -> bool:
    words = name.split(".")
    version = words[-1]
    return (
        name.startswith(EVENT_TYPES_PREFIX)
        and len(name) <= _NAME_CHARS
        and all(words)
        and version[:1] == "v"
        and version[1:].isdecimal()
    )
