"""The one graph: components, what they depend on, where they stand; each fact with the file and line it came from.

Promises: frozen facts; ``None`` means that no file says it, and stays ``None`` until an analysis says what it assumed.
May not know: any format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

__all__ = [
    "DOMAIN_LEVELS",
    "STORES",
    "Component",
    "Dependency",
    "Evidence",
    "Graph",
    "How",
    "Journey",
    "Unknown",
]

How = Literal["declared", "inferred", "observed"]
"""A file says so; a value (a URL in a variable) implies it; a trace saw it."""
DOMAIN_LEVELS: Final = ("vendor", "account", "region", "zone", "host", "cell", "disk", "network", "unit")
"""Failure domains from wide to narrow; ``unit`` is what is deployed together."""
STORES: Final = frozenset({"database", "cache", "queue", "bucket", "index", "volume"})


class Evidence(NamedTuple):
    """Where a fact stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(slots=True, kw_only=True)
class Component:
    """Something that can fail on its own. Mutable only while the graph is built."""

    name: str
    kind: str = "service"
    """service, function, job, proxy, gateway, database, cache, index, queue, topic, bucket, identity, network, dns,
    cdn, external, telemetry, control."""
    replicas: int | None = None
    """Copies that run; None: no file says it."""
    needs: int = 1
    """Copies that must be up (k of n)."""
    managed: bool = False
    """The provider keeps several copies of it in the region; one machine or zone does not take it away."""
    domains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Level -> the places its copies stand in."""
    spread: bool = False
    """Its copies are kept apart (anti-affinity, spread), though no file says where."""
    stateful: bool | None = None
    """It keeps data that cannot be made again; None: no file says it."""
    backup: bool | None = None
    dead_letters: bool | None = None
    """For a queue: what fails again and again has a place to go."""
    availability: float | None = None
    mttr_minutes: float | None = None
    owner: str = ""
    launches: str = ""
    """How recovery needs a provider's control plane, in words; empty: it does not, as far as files say."""
    unsaid: frozenset[str] = frozenset()
    """Fields that a variable or parameter decides which no file here sets: listed as unknown, never judged."""
    entry: bool = False
    """It takes calls from outside."""
    image: str = ""
    resource: str = ""
    """What it is in the words of ``aws`` (rds, ecs); empty for what is no resource of a cloud."""
    scope: str = ""
    """Compose project, namespace, stack or module: names are looked up here first."""
    evidence: list[Evidence] = field(default_factory=list)
    facts: dict[str, Evidence] = field(default_factory=dict)
    """Field -> where it is said, for fields whose line matters to a finding."""

    def where(self, fact: str = "") -> Evidence:
        """The line of a fact, else of the component's own block."""
        return self.facts.get(fact) or (self.evidence[0] if self.evidence else Evidence("-", 0))


@dataclass(slots=True, kw_only=True)
class Dependency:
    """``source`` uses ``target``. Mutable only while the graph is built."""

    source: str
    target: str
    hard: bool | None = None
    """Without the target the source cannot do its work; None: no file says it, and analyses take the worse."""
    sync: bool | None = None
    """The source waits for the answer."""
    starts: bool = False
    """The source does not start without the target."""
    calls: bool = True
    """False for what is only an order of starting or a place."""
    how: How = "declared"
    hows: set[How] = field(default_factory=set)
    """All the ways it is known."""
    group: str = ""
    """Dependencies of one source with the same group are alternatives: one of them is enough."""
    timeout_ms: float | None = None
    retries: int | None = None
    """Tries after the first."""
    fallback: str = ""
    documented: bool = False
    """Somebody wrote it down as a dependency (depends_on, an overlay), not only as a value."""
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def tries(self) -> int:
        """Calls that one call can become."""
        return 1 + (self.retries or 0)

    def where(self) -> Evidence:
        """The first place it stands."""
        return self.evidence[0] if self.evidence else Evidence("-", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """What a viewer wants; ``weight`` is its share of all journeys (0 to 1)."""

    name: str
    entry: tuple[str, ...]
    """Any of them will do."""
    weight: float
    assumed: bool
    """Nobody declared it: the entry takes calls from outside."""
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Unknown:
    """What no file says and a person could."""

    about: str
    what: str
    evidence: Evidence


@dataclass(slots=True, kw_only=True)
class Graph:
    """Everything that was read."""

    components: dict[str, Component]
    dependencies: list[Dependency]
    journeys: list[Journey]
    unknowns: list[Unknown] = field(default_factory=list)
    traced: frozenset[str] = frozenset()
    """Components that a trace covers, so that what it did not see there means something."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File -> what it was read as."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(file, why) for what was passed over in a folder."""
    resources: tuple[int, int] = (0, 0)
    """(understood, met) of what the files declare."""
