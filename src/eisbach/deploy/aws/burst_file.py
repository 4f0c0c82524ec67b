"""``burst.toml``: what ``eisbach burst steer`` is told. Strict: an unknown key is refused with its name.

Loads known beforehand are wall-clock times here (a schedule has no monotonic time).
"""

import tomllib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

from eisbach.control.burst import Expected
from eisbach.deploy.aws.burst import Placement
from eisbach.deploy.burst.handler import Handler
from eisbach.kernel.errors import Invalid

__all__ = ["BurstFile", "expected_of", "load_burst_file"]

_BYTES_MAX = 1 << 18
_Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class Booking(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A load in the schedule."""

    begins: datetime
    """With its offset, e.g. 2026-11-26T20:45:00+01:00; units are up ``boot_s`` before."""
    ends: datetime
    rate: Annotated[float, msgspec.Meta(ge=0, le=1e8)]
    """Calls a second."""


class Where(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """See ``Placement``."""

    region: str
    cluster: str
    service: str
    rule: str
    base_group: str
    spill_group: str
    metric: dict[str, str] = {}
    namespace: str = "AWS/ApplicationELB"
    name: str = "RequestCount"
    period_s: int = 60


class BurstFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The whole file."""

    placement: Where
    handler: dict[str, float | str] = {}
    """Fields of ``Handler``; what is left out is its default."""
    units_min: _Count = 2
    units_max: _Count = 200
    every_s: Annotated[float, msgspec.Meta(ge=10, le=600)] = 60.0
    bookings: Annotated[tuple[Booking, ...], msgspec.Meta(max_length=500)] = ()

    def place(self) -> Placement:
        """The placement, checked."""
        return Placement(**msgspec.structs.asdict(self.placement))

    def measured(self) -> Handler:
        """The handler, checked."""
        known = set(Handler.__dataclass_fields__)
        if unknown := sorted(set(self.handler) - known):
            raise Invalid(f"burst file: handler has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
        values = {k: v if isinstance(v, str) else Decimal(str(v)) for k, v in self.handler.items()}
        return Handler(**values)  # type: ignore[arg-type]  # Handler checks each


def load_burst_file(path: Path) -> BurstFile:
    """Read it.

    Raises:
        Invalid: with the file, and the key and value that break a rule.
    """
    try:
        raw = path.read_bytes()[: _BYTES_MAX + 1]
        if len(raw) > _BYTES_MAX:
            raise Invalid(f"{path}: larger than {_BYTES_MAX} bytes")
        found = msgspec.convert(tomllib.loads(raw.decode()), BurstFile)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from error
    for booking in found.bookings:
        if booking.begins.tzinfo is None or booking.ends.tzinfo is None or booking.begins >= booking.ends:
            raise Invalid(
                f"{path}: booking {booking.begins} to {booking.ends}: both need an offset, the end after the begin"
            )
    found.place()
    found.measured()
    return found


def expected_of(file: BurstFile, *, wall_ms: int, monotonic_ms: int) -> tuple[Expected, ...]:
    """The bookings in the monotonic seconds of the one who steers, those that are over left out."""
    shift = (monotonic_ms - wall_ms) / 1000
    return tuple(
        Expected(from_s=b.begins.timestamp() + shift, until_s=b.ends.timestamp() + shift, rate=b.rate)
        for b in file.bookings
        if b.ends.timestamp() * 1000 > wall_ms
    )
