"""What operators and probes ask: alive, ready, statistics, metrics.

``/livez`` and ``/healthz`` say that the process answers; ``/readyz`` names what is missing before it can do its work.
May not know: what the parts are; they register what they have to say.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eisbach.cell.metrics import Metrics
from eisbach.cell.routes import Answer, Call, Route, json_answer

__all__ = ["OpsCalls"]


class OpsCalls:
    """One a process."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        missing: Callable[[], Sequence[str]],
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        """``missing``: what keeps this process from its work, empty when ready; ``status``: its statistics."""
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

    async def metrics(self, _call: Call) -> Answer:
        """Figures only, nothing about viewers: needs no token, so that any Prometheus inside can scrape it."""
        return Answer(200, self._metrics.text(), content_type="text/plain; version=0.0.4")
