"""The workload file: one TOML, read strictly into ranges and designs.

Promises: an unknown key is refused with the nearest known one, a value out of bounds with the bounds, each with file
and line; what the file leaves out is a default with its reason, and the answer says which is which.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from eisbach.plan.cost.fields import CALL_DEFAULTS, CALL_FIELDS, FIELDS, ITEM_DEFAULTS, ITEM_FIELDS, Field, Range
from eisbach.plan.cost.nearest import nearest
from eisbach.plan.cost.prices import REGIONS
from eisbach.plan.cost.source import Source, read_source

__all__ = ["COMPUTES", "FRONT_DOORS", "SHAPES", "Assumption", "Design", "Workload", "load_workload", "parse_workload"]

SHAPES: Final = {"single": 1, "passive-cold": 2, "passive-warm": 2, "active-2": 2, "active-3": 3}
"""Shape -> regions it needs."""
COMPUTES: Final = ("lambda", "fargate", "both")
CAPACITIES: Final = ("on-demand", "provisioned")
FRONT_DOORS: Final = {"http-api": "http_api.request", "function-url": "function_url.request", "alb": "alb.hour"}
_DESIGNS_MAX, _CALLS_MAX, _ITEMS_MAX = 20, 40, 20
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_OVERRIDES: Final = {
    "cdn_hit_ratio": "media.cdn_hit_ratio",
    "heartbeat_seconds": "cadence.heartbeat_seconds",
    "progress_seconds": "cadence.progress_seconds",
}
_DESIGN_KEYS: Final = ("name", "shape", "compute", "front_door", "regions", "cells", "capacity", *_OVERRIDES)


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number of the model, and who said it."""

    value: Range
    unit: str
    origin: str
    """``file.toml:12``, or ``default: why``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One shape of the platform to be priced."""

    name: str
    shape: str
    compute: str
    front_door: str
    regions: Sequence[str]
    cells: int
    """Cells a region, 1 to 1000."""
    capacity: str = "on-demand"
    """Of log and hub on DynamoDB: ``on-demand`` or ``provisioned``."""
    overrides: Mapping[str, Decimal] = field(default_factory=dict)
    """Assumptions that differ in this design."""

    @property
    def active(self) -> int:
        """Regions that serve viewers every day."""
        return SHAPES[self.shape] if self.shape.startswith("active") else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A parsed workload file."""

    name: str
    architecture: str
    """``arm`` or ``x86``."""
    assumptions: Mapping[str, Assumption]
    """By dotted name, the calls' and items' included (``calls.home.per_play``)."""
    designs: Sequence[Design]
    source: str

    def point(self, **chosen: Decimal) -> dict[str, Decimal]:
        """Every assumption at its typical value, those ``chosen`` at theirs (names with ``__`` for dots)."""
        point = {name: found.value.typical for name, found in self.assumptions.items()}
        return point | {name.replace("__", "."): value for name, value in chosen.items()}

    def names(self, prefix: str) -> list[str]:
        """The calls or items, in the file's order: ``names("calls")``."""
        found = (name.split(".")[1] for name in self.assumptions if name.startswith(prefix + "."))
        return list(dict.fromkeys(found))


def load_workload(path: Path) -> Workload:
    """Read a workload file.

    Raises:
        Invalid: with file and line.
    """
    return parse_workload(read_source(path))


def parse_workload(source: Source) -> Workload:
    """See ``load_workload``."""
    groups = {name.partition(".")[0] for name in FIELDS}
    known = {"name", "architecture", "design", "calls", "items", *groups}
    for key in source.data:
        if key not in known:
            hint = "; prices are known in USD only" if key == "currency" else nearest(key, known)
            raise source.refuse((key,), f"unknown key{hint}")
    assumptions: dict[str, Assumption] = {}
    for group in sorted(groups):
        fields = {name.partition(".")[2]: found for name, found in FIELDS.items() if name.startswith(group + ".")}
        assumptions |= _table(source, (group,), source.data.get(group, {}), fields)
    assumptions |= _kinds(source, "calls", CALL_FIELDS, CALL_DEFAULTS, _CALLS_MAX)
    assumptions |= _kinds(source, "items", ITEM_FIELDS, ITEM_DEFAULTS, _ITEMS_MAX)
    viewers = assumptions["audience.peak_viewers"].value.typical * 730
    if (hours := assumptions["audience.viewer_hours"].value.typical) > viewers:
        why = f"{hours} viewer-hours a month are more than the peak all month long ({viewers})"
        raise source.refuse(("audience", "viewer_hours"), why)
    return Workload(
        name=_text(source, ("name",), source.data.get("name", Path(source.name).stem)),
        architecture=_one_of(source, ("architecture",), source.data.get("architecture", "arm"), ("arm", "x86")),
        assumptions=assumptions,
        designs=list(_designs(source)),
        source=source.name,
    )


def _kinds(
    source: Source, group: str, fields: Mapping[str, Field], defaults: Mapping[str, Mapping[str, str]], most: int
) -> dict[str, Assumption]:
    """The tables ``[calls.NAME]`` or ``[items.NAME]``; the defaults stand when the file has none of the group."""
    found: dict[str, Assumption] = {}
    if group not in source.data:
        for name, row in defaults.items():
            for key, given in fields.items():
                low, typical, high = (row[key],) * 3 if key in row else given.default or ("0", "0", "0")
                value = Range(Decimal(low), Decimal(typical), Decimal(high))
                found[f"{group}.{name}.{key}"] = Assumption(value, given.unit, "default: workload model")
        return found
    tables = source.data[group]
    if not isinstance(tables, dict) or not 1 <= len(tables) <= most:
        raise source.refuse((group,), f"must have 1 to {most} tables [{group}.NAME]")
    for name, row in tables.items():
        if not _NAME.fullmatch(name):
            raise source.refuse((group, name), "a name has 1 to 31 of a-z, 0-9 and _, and begins with a letter")
        found |= _table(source, (group, name), row, fields)
    return found


def _table(source: Source, at: tuple[str, ...], row: Any, fields: Mapping[str, Field]) -> dict[str, Assumption]:
    if not isinstance(row, dict):
        raise source.refuse(at, f"must be a table [{'.'.join(at)}], not {_shown(row)}")
    for key in row:
        if key not in fields:
            raise source.refuse((*at, key), f"unknown key{nearest(key, fields)}")
    found: dict[str, Assumption] = {}
    for key, given in fields.items():
        path = (*at, key)
        if key in row:
            value, origin = _range(source, path, row[key], given), f"{source.name}:{source.lines.get(path, 1)}"
        elif given.default is None:
            raise source.refuse(at, f"{key!r} is missing ({given.unit})")
        else:
            value, origin = Range(*(Decimal(text) for text in given.default)), f"default: {given.why}"
        found[".".join(path)] = Assumption(value, given.unit, origin)
    return found


def _range(source: Source, path: tuple[str, ...], value: Any, given: Field) -> Range:
    three = value if isinstance(value, list) else [value] * 3
    if len(three) != 3:
        raise source.refuse(path, f"must be a number or [low, typical, high], not {_shown(value)}")
    low, typical, high = (_number(source, path, one, given) for one in three)
    if not low <= typical <= high:
        raise source.refuse(path, f"{_shown(value)} does not rise: it is [low, typical, high]")
    return Range(low, typical, high)


def _number(source: Source, path: tuple[str | int, ...], value: Any, given: Field) -> Decimal:
    if type(value) not in (int, float) or len(str(value)) > 40:
        raise source.refuse(path, f"{_shown(value)} is not a number ({given.unit})")
    number = Decimal(str(value))
    if not number.is_finite() or not Decimal(given.least) <= number <= Decimal(given.most):
        least, most = (format(Decimal(text), "f") for text in (given.least, given.most))
        raise source.refuse(path, f"{value} is not from {least} to {most} ({given.unit})")
    return number


def _designs(source: Source) -> Iterator[Design]:
    rows = source.data.get("design")
    if not isinstance(rows, list) or not 1 <= len(rows) <= _DESIGNS_MAX:
        raise source.refuse(("design",), f"there must be 1 to {_DESIGNS_MAX} tables [[design]]")
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise source.refuse(("design", number), f"must be a table, not {_shown(row)}")
        design = _design(source, ("design", number), row)
        if design.name in seen:
            raise source.refuse(("design", number, "name"), f"{design.name!r} is there twice")
        seen.add(design.name)
        yield design


def _design(source: Source, at: tuple[str | int, ...], row: Mapping[str, Any]) -> Design:
    for key in row:
        if key not in _DESIGN_KEYS:
            raise source.refuse((*at, key), f"unknown key{nearest(key, _DESIGN_KEYS)}")
    for key in ("name", "shape", "compute", "regions"):
        if key not in row:
            raise source.refuse(at, f"{key!r} is missing")
    shape = _one_of(source, (*at, "shape"), row["shape"], tuple(SHAPES))
    compute = _one_of(source, (*at, "compute"), row["compute"], COMPUTES)
    door = row.get("front_door", "http-api" if compute == "lambda" else "alb")
    door = _one_of(source, (*at, "front_door"), door, tuple(FRONT_DOORS))
    if compute != "lambda" and door == "function-url":
        raise source.refuse((*at, "front_door"), "a function URL calls Lambda only; use alb or http-api")
    regions = row["regions"]
    if not isinstance(regions, list) or len(regions) != SHAPES[shape]:
        raise source.refuse((*at, "regions"), f"shape {shape} needs a list of {SHAPES[shape]} regions")
    for region in regions:
        _one_of(source, (*at, "regions"), region, REGIONS)
    if len(set(regions)) != len(regions):
        raise source.refuse((*at, "regions"), "a region is there twice")
    cells = row.get("cells", 3)
    if type(cells) is not int or not 1 <= cells <= 1000:
        raise source.refuse((*at, "cells"), f"{_shown(cells)} is not a whole number from 1 to 1000")
    overrides = {
        name: _number(source, (*at, key), row[key], FIELDS[name]) for key, name in _OVERRIDES.items() if key in row
    }
    name = _text(source, (*at, "name"), row["name"])
    capacity = _one_of(source, (*at, "capacity"), row.get("capacity", "on-demand"), CAPACITIES)
    parts = {"name": name, "shape": shape, "compute": compute, "front_door": door, "capacity": capacity}
    return Design(**parts, regions=tuple(regions), cells=cells, overrides=overrides)


def _one_of(source: Source, path: tuple[str | int, ...], value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        hint = nearest(value, known) if isinstance(value, str) else f"; known: {', '.join(known)}"
        raise source.refuse(path, f"unknown {path[-1]} {_shown(value)}{hint}")
    return value


def _text(source: Source, path: tuple[str | int, ...], value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 80 or not value.isprintable():
        raise source.refuse(path, f"{_shown(value)} is not a printable text of 1 to 80 characters")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
