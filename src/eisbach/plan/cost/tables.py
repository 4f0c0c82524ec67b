"""What a design's tables on DynamoDB use in a month, line by line (docs/decisions/0022, 0026).

A commit is one row of the log, of all that wait at its time; it is replicated to every region and deleted there a week
later at as many units. The item follows with a flush, unless it was written again meanwhile. A region that applies the
others' ops logs them in rows of its own, which are replicated and deleted too, and flushes the items. An envelope of
the hub is a row and a cursor. Log and hub may be of provisioned capacity; the state, flushed in waves, never is.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.bill import Meter
from eisbach.plan.cost.tariff import HOURS, gigabytes, read_units, write_units
from eisbach.plan.cost.usage import SECONDS, Point, Usage, Written
from eisbach.plan.cost.workload import Design

__all__ = ["Tables"]

_DAYS: Final = HOURS / 24
_HOUR: Final = 3600
_ENVELOPE: Final = "envelopes in the hub's table"


class Tables:
    """Of one design."""

    def __init__(self, point: Point, design: Design, usage: Usage, meter: Meter) -> None:
        self.point, self.design, self.usage, self.meter = point, design, usage, meter
        self.serving = design.regions[: design.active]
        self.share = Decimal(1) / design.active

    def add(self, running: Sequence[str]) -> None:
        """All lines; ``running``: regions that apply what the others wrote."""
        for region in self.serving:
            for item in self.usage.written:
                self._home(region, item)
            self._reads(region)
        for index, region in enumerate(self.design.regions):
            others = 1 - self.share if index < self.design.active else Decimal(1)
            if others and len(self.design.regions) > 1:
                self._others(region, others, applies=region in running)
            self._stored(region)
        for region in running:
            polls = self.point["store.polls_per_second"] * self.design.cells * SECONDS
            how = f"{_n(polls)} looks whether another process has written"
            self.meter.add(("data", "looks at the log"), region, "dynamodb.read", polls, how)

    def add_envelopes(self, region: str, envelopes: Decimal) -> None:
        """Rows and cursors of the hub's table."""
        point = self.point
        size = point["events.per_envelope"] * point["events.bytes"] * point["events.packed"]
        each = write_units(size) + 1
        how = f"{_n(envelopes)} envelopes x {each} units: the row, {_n(size)} bytes as it is packed, and the cursor"
        self._write(("events", _ENVELOPE), region, "dynamodb.write", envelopes * each, how)

    def _write(self, words: tuple[str, str], region: str, id_: str, units: Decimal, how: str) -> None:
        """Of a table whose capacity may be provisioned."""
        if self.design.capacity == "provisioned":
            used = self.point["store.utilisation"]
            hours = units / _HOUR / used
            self.meter.add(
                words, region, f"{id_}_hour", hours, f"{how}; capacity for them, {used} of it used, by the hour"
            )
        else:
            self.meter.add(words, region, id_, units, how)

    def _each(self, item: Written, together: Decimal) -> Decimal:
        """Units of the log an op, when so many share a row."""
        size = (item.bytes + self.point["store.log_bytes"]) * self.point["store.packed"]
        return write_units(size * together) / together

    def _home(self, region: str, item: Written) -> None:
        """What a region's own viewers write."""
        writes, company = item.writes * self.share, self.point["store.writes_per_commit"]
        units = writes * self._each(item, company)
        replicated = len(self.design.regions) > 1 and item.replicated
        id_ = "dynamodb.replicated_write" if replicated else "dynamodb.write"
        how = f"{_n(writes)} writes, {company} a row of the log"
        self._write(("data", f"log {item.name}"), region, id_, units, how)
        self._write(("data", f"forget {item.name}"), region, id_, units, f"{how}, deleted at as many units")
        self._flush(("data", f"write {item.name}"), region, item, writes)

    def _flush(self, words: tuple[str, str], region: str, item: Written, writes: Decimal) -> None:
        part, each = self.point["store.flushed"], write_units(item.bytes)
        how = f"{_n(writes)} writes x {part} that a flush finds x {each}"
        self.meter.add(words, region, "dynamodb.write", writes * part * each, how)

    def _others(self, region: str, others: Decimal, *, applies: bool) -> None:
        """What a region pays for what the others wrote, and those for its copies."""
        gb, batch = Decimal(0), self.point["store.apply_batch"]
        for item in self.usage.written:
            ops = item.writes * item.replicated * others
            units = ops * self._each(item, self.point["store.writes_per_commit"])
            how = f"{_n(ops)} ops of the other regions, in their rows"
            self._write(("data", f"replicate {item.name}"), region, "dynamodb.replicated_write", units, how)
            words = ("data", f"forget replicated {item.name}")
            self._write(words, region, "dynamodb.replicated_write", units, f"{how}, deleted at as many units")
            gb += gigabytes(ops * (item.bytes + self.point["store.log_bytes"]) * self.point["store.packed"])
            if applies:
                copies = ops * self._each(item, batch)
                how = f"{_n(ops)} ops, {batch} a row of this region's log, written and deleted"
                self._write(("data", f"apply {item.name}"), region, "dynamodb.replicated_write", copies * 2, how)
                for other in self.design.regions:
                    if other != region:
                        words = ("data", f"replicate copies of {item.name} from {region}")
                        self._write(words, other, "dynamodb.replicated_write", copies * 2, f"{how} there")
                self._flush(("data", f"write applied {item.name}"), region, item, ops)
        source = next(other for other in self.serving if other != region)
        how = f"{_n(gb)} GB of log into {region}, replicated" + (" and pulled" if applies else "")
        self.meter.add(("network", f"log to {region}"), source, "interregion.out.gb", gb * (1 + applies), how)

    def _reads(self, region: str) -> None:
        calls = self.usage.calls
        units = sum((c.origin * c.reads * read_units(c.read_bytes) for c in calls), Decimal(0)) * self.share
        part = "all" if self.design.active == 1 else f"1/{self.design.active}"
        how = f"items read by calls x {part}, strongly consistent, 4 KB a unit"
        self.meter.add(("data", "reads of calls"), region, "dynamodb.read", units, how)

    def _stored(self, region: str) -> None:
        point = self.point
        entries = sum((x.writes * (x.bytes + point["store.log_bytes"]) for x in self.usage.written), Decimal(0))
        log = gigabytes(entries * point["store.packed"] * point["store.log_days"] / _DAYS)
        gb = point["store.data_gb"] + log
        how = f"{point['store.data_gb']} GB of items + {_n(log)} GB of {point['store.log_days']} days of log"
        self.meter.add(("data", "items and log stored"), region, "dynamodb.storage.gb_month", gb, how)
        self.meter.add(("data", "point-in-time recovery"), region, "dynamodb.pitr.gb_month", gb, how)


def _n(value: Decimal) -> str:
    """A number for a formula: four significant digits at least, thousands grouped."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value else "0"
