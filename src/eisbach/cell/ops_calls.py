"""What operators and probes ask: alive, ready, statistics, metrics.

``/livez`` and ``/healthz`` say that the process answers; ``/readyz`` names what is missing before it can do its work.
May not know: what the parts are; they register what they have to say.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from eisbach.cell.metrics import Metrics
from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.kernel.errors import Invalid
from eisbach.kernel.versions import Version
from eisbach.ports.store import Conflict

__all__ = ["OpsCalls"]

_CONFLICTS_MAX: Final = 1000


class OpsCalls:
    """One a process."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        missing: Callable[[], Sequence[str]],
        status: Callable[[], Mapping[str, Any]],
        conflicts: Callable[[int], Awaitable[Sequence[Conflict]]],
    ) -> None:
        """Compose.

        Args:
            metrics: of the process.
            missing: what keeps this process from its work, empty when ready.
            status: its statistics.
            conflicts: of the store, newest first, at most so many.
        """
        self._conflicts = conflicts
        self._metrics, self._missing, self._status = metrics, missing, status

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table; none of it is for viewers."""

        def get(path: str, handler: Any, summary: str, caller: Any = "anyone") -> Route:
            return Route(
                method="GET", path=path, handler=handler, summary=summary, caller=caller, importance="critical",
                listed=False,
            )  # fmt: skip

        return [
            get("/healthz", self.live, "Whether the process runs"),
            get("/livez", self.live, "Whether the process runs"),
            get("/readyz", self.ready, "Whether it can do its work"),
            get("/status", self.status, "Statistics", "service"),
            get("/conflicts", self.conflicts, "Losers of concurrent writes", "operator"),
            get("/metrics", self.metrics, "Prometheus"),
        ]

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
