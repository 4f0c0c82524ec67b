"""OpenTelemetry traces as OTLP JSON: who really called whom, and how long it took.

A CLIENT or PRODUCER span names its peer (``peer.service``, ``server.address``, ``db.system``), or a child span of
another service does; what a trace covers is noted, so that silence can be told from absence.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.model import Evidence, Unknown

__all__ = ["is_traces", "read_traces"]

_PEERS: Final = ("peer.service", "server.address", "net.peer.name", "messaging.system", "db.system")
_CLIENT: Final = ("3", "SPAN_KIND_CLIENT")
_PRODUCER: Final = ("4", "SPAN_KIND_PRODUCER")


class _Span(NamedTuple):
    service: str
    identity: str
    parent: str
    kind: str
    peer: str
    line: int


def is_traces(document: Node) -> bool:
    """Whether a document is OTLP JSON."""
    return isinstance(document.get("resourceSpans").value, list)


def read_traces(documents: list[Node], file: str, facts: Facts) -> None:
    """Observed calls of all documents of a file (the file exporter writes one a line)."""
    spans = [span for document in documents for span in _spans(document)]
    by_identity = {span.identity: span for span in spans}
    seen: dict[tuple[str, str], tuple[_Span, bool]] = {}
    for span in spans:
        facts.traced.add(span.service)
        parent = by_identity.get(span.parent)
        if parent is not None and parent.service != span.service:
            seen.setdefault((parent.service, span.service), (parent, parent.kind not in _PRODUCER))
    answered = {span.parent for span in spans if span.parent}
    for span in spans:
        if span.kind in (*_CLIENT, *_PRODUCER) and span.peer and span.identity not in answered:
            seen.setdefault((span.service, span.peer), (span, span.kind in _CLIENT))
    facts.met += len(spans)
    facts.understood += len(spans)
    for span in spans:  # one that calls nobody and that nobody calls is there all the same
        if facts.resolve(span.service, "") is None:
            _seen(facts, span.service, Evidence(file, span.line), "service")
    for (source, target), (span, sync) in seen.items():
        at = Evidence(file, span.line)
        for name in (source, target):
            if facts.resolve(name, "") is None:
                _seen(facts, name, at, "service" if name in facts.traced else "external")
        facts.link(
            facts.resolve(source, "") or source, target, scope="", at=at, how="observed", sync=None if sync else False
        )


def _seen(facts: Facts, name: str, at: Evidence, kind: str) -> None:
    """A component that only traces show: how many copies it has, they do not say."""
    unsaid = frozenset({"replicas"}) if kind == "service" else frozenset()
    facts.component(name, scope="", at=at, kind=kind, unsaid=unsaid)
    if unsaid:
        facts.unknowns.append(Unknown(name, "how many copies run: only traces show it", at))


def _spans(document: Node) -> Iterator[_Span]:
    for resource in document.get("resourceSpans").each():
        service = _attributes(resource.get("resource")).get("service.name", "")
        for scope in (*resource.get("scopeSpans").each(), *resource.get("instrumentationLibrarySpans").each()):
            for span in scope.get("spans").each():
                attributes = _attributes(span)
                peer = next((attributes[key] for key in _PEERS if attributes.get(key)), "")
                trace = span.get("traceId").text()
                parent = span.get("parentSpanId").text()
                if service:
                    yield _Span(
                        service, trace + span.get("spanId").text(), trace + parent if parent else "",
                        span.get("kind").text(), peer, span.line,
                    )  # fmt: skip


def _attributes(node: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in node.get("attributes").each():
        value = next((v for _, v in attribute.get("value").items()), None)
        found[attribute.get("key").text()] = value.text() if value is not None else ""
    return found
