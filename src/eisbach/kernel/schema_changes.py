"""Whether a payload schema may replace the one that was released.

Two readers must be served: this version reads what the last one wrote (replay, backfill, the other region during a
release), and the last one reads what this one writes (spokes are upgraded after cells). So fields may be added when
they are optional; nothing may be taken away, renamed, retyped, or change between required and optional.
Source of the rule: "full" compatibility of Confluent's schema registry. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["broken_by"]

_SAID_ONLY: Final = frozenset({"description", "title", "$id", "$schema", "$defs", "default", "properties", "required"})
"""Words that do not decide what fits, and those that are compared one by one."""


def broken_by(released: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a reader of either version would stumble over, each with its path; empty when it is compatible."""
    return list(_differences(_Side(released, released), _Side(now, now), "$", frozenset()))


class _Side:
    """A place in a schema, with the document that its references point into."""

    def __init__(self, whole: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        self.whole = whole
        self.name = str(here.get("$ref", ""))
        self.here: Mapping[str, Any] = whole["$defs"][self.name.rpartition("/")[2]] if self.name else here

    def at(self, here: Mapping[str, Any]) -> "_Side":
        return _Side(self.whole, here)


def _differences(old: _Side, new: _Side, path: str, seen: frozenset[str]) -> Iterator[str]:
    if old.name and old.name in seen:
        return
    seen |= {old.name}
    fields, found = old.here.get("properties", {}), new.here.get("properties", {})
    required, requires = set(old.here.get("required", ())), set(new.here.get("required", ()))
    for name in sorted(required ^ requires):
        if name in fields or name in requires:
            was = "required" if name in required else "optional" if name in fields else "absent"
            yield f"{path}.{name} was {was} and is {'required' if name in requires else 'optional or gone'} now"
    for name, field in fields.items():
        if name not in found:
            yield f"{path}.{name} is gone"
        else:
            yield from _differences(old.at(field), new.at(found[name]), f"{path}.{name}", seen)
    for word in sorted({*old.here, *new.here} - _SAID_ONLY - {"$ref"}):
        yield from _word(old, new, path, word, seen)


def _word(old: _Side, new: _Side, path: str, word: str, seen: frozenset[str]) -> Iterator[str]:
    was, now = old.here.get(word), new.here.get(word)
    if isinstance(was, dict) and isinstance(now, dict):
        yield from _differences(old.at(was), new.at(now), f"{path}[]", seen)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now) and was and isinstance(was[0], dict):
        for before, after in zip(was, now, strict=True):
            yield from _differences(old.at(before), new.at(after), path, seen)
    elif was != now:
        yield f"{path}: {word} was {was!r} and is {now!r} now"
