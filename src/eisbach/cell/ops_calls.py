"""What operators and probes ask: alive, ready, statistics, metrics.

``/livez`` and ``/healthz`` say that the process answers; ``/readyz`` names what is missing before it can do its work.
May not know: what the parts are; they register what they have to say.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from eisbach.cell.metrics import Metrics
from eisbach.cell.routes import Answer, Call, Route, json_answer, no_content
from eisbach.kernel.errors import Invalid
from eisbach.kernel.versions import Version
from eisbach.ports.store import Conflict

__all__ = ["OpsCalls"]

_CONFLICTS_MAX: Final = 1000
_SHIFT_MAX_MS: Final = 366 * 86_400_000


class ClockShift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT /rehearsal/clock``."""

    shift_ms: int


class OpsCalls:
    """One a process."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        missing: Callable[[], Sequence[str]],
        status: Callable[[], Mapping[str, Any]],
        conflicts: Callable[[int], Awaitable[Sequence[Conflict]]],
        shift_clock: Callable[[int], None] | None = None,
    ) -> None:
        """Compose.

        Args:
            metrics: of the process.
            missing: what keeps this process from its work, empty when ready.
            status: its statistics.
            conflicts: of the store, newest first, at most so many.
            shift_clock: sets the wall clock wrong by so many milliseconds; in a rehearsal only.
        """
        self._shift_clock = shift_clock
        self._conflicts = conflicts
        self._metrics, self._missing, self._status = metrics, missing, status

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table; none of it is for viewers."""

        def get(path: str, handler: Any, summary: str, caller: Any = "anyone") -> Route:
            return Route(
                method="GET", path=path, handler=handler, summary=summary, caller=caller, importance="critical",
                listed=False,
            )  # fmt: skip

        rehearsal = Route(
            method="PUT", path="/rehearsal/clock", handler=self.clock, body=ClockShift, caller="operator", listed=False,
            importance="critical", status=204, summary="Set the wall clock wrong on purpose",
        )  # fmt: skip
        return [
            *([rehearsal] if self._shift_clock else []),
            get("/healthz", self.live, "Whether the process runs"),
            get("/livez", self.live, "Whether the process runs"),
            get("/readyz", self.ready, "Whether it can do its work"),
            get("/status", self.status, "Statistics", "service"),
            get("/conflicts", self.conflicts, "Losers of concurrent writes", "operator"),
            get("/metrics", self.metrics, "Prometheus"),
        ]

    async def clock(self, call: Call) -> Answer:
        """By how much from now on; 0 sets it right."""
        asked: ClockShift = call.body
        if self._shift_clock is None or abs(asked.shift_ms) > _SHIFT_MAX_MS:
            raise Invalid(f"shift_ms is {asked.shift_ms}; use at most {_SHIFT_MAX_MS} either way, in a rehearsal")
        self._shift_clock(asked.shift_ms)
        return no_content()

    async def live(self, _call: Call) -> Answer:
        """It answers, so it lives."""
        return Answer(200, b'{"live":true}', [("Cache-Control", "no-store")])

    async def ready(self, _call: Call) -> Answer:
        """503 with what is missing."""
        missing = list(self._missing())
        document = {"ready": not missing, "missing": missing}
        return json_answer(document, status=503 if missing else 200, headers=[("Cache-Control", "no-store")])

    async def status(self, _call: Call) -> Answer:
        """JSON of everything the parts have to say."""
        return json_answer(self._status(), headers=[("Cache-Control", "no-store")])

    async def conflicts(self, call: Call) -> Answer:
        """Newest first, ``?limit=`` 1 to 1000; values in base64, which only an operator sees."""
        text = call.query.get("limit", "100")
        if not text.isdecimal() or not 1 <= int(text) <= _CONFLICTS_MAX:
            raise Invalid(f"limit is {text[:20]!r}; use 1 to {_CONFLICTS_MAX}")
        found = [
            {
                "slot": one.slot, "pk": one.key.pk, "sk": one.key.sk, "at_ms": one.at_ms, "value": one.value,
                "loser": _version(one.loser), "winner": _version(one.winner),
            }
            for one in await self._conflicts(int(text))
        ]  # fmt: skip
        return json_answer({"conflicts": found}, headers=[("Cache-Control", "no-store")])

    async def metrics(self, _call: Call) -> Answer:
        """Figures only, nothing about viewers: needs no token, so that any Prometheus inside can scrape it."""
        return Answer(200, self._metrics.text(), content_type="text/plain; version=0.0.4")


def _version(version: Version) -> str:
    return f"{version.origin}:{version.hlc}:{version.seq}"
