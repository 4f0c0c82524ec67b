"""Who listens where on the laptop: the address table of ``docs/internals.md`` as functions.

Pure. Every port lies below 32768, the start of the range from which Linux takes ports for outgoing connections:
a fixed port above it is sometimes taken by a connection (reference/dataplane.md section 8).
"""

from dataclasses import dataclass

__all__ = ["DISTANCES", "REGIONS", "RESIDENCIES", "Addresses"]

REGIONS = ("eu-central", "eu-west", "us-east")
RESIDENCIES = {"eu-central": "eu", "eu-west": "eu", "us-east": "us"}
DISTANCES = {
    "eu-central": {"de": 8, "at": 12, "ch": 12, "pl": 18, "nl": 12, "fr": 16, "gb": 22, "ie": 32, "us": 95},
    "eu-west": {"de": 24, "at": 30, "ch": 26, "pl": 38, "nl": 18, "fr": 18, "gb": 10, "ie": 4, "us": 75},
    "us-east": {"de": 90, "at": 95, "ch": 93, "pl": 102, "nl": 84, "fr": 82, "gb": 76, "ie": 70, "us": 12},
}
"""Region -> place -> milliseconds of round trip, rounded from public tables of the clouds' own measurements."""
CELL_PORTS = {"studio": 8100, "c1": 8101, "c2": 8102, "c3": 8103}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses under one loopback network such as ``127.0.0``."""

    network: str

    def host(self, region: str) -> str:
        """Address of a region's host: .1, .2, .3 in the order of ``REGIONS``."""
        return f"{self.network}.{REGIONS.index(region) + 1}"

    @property
    def first(self) -> str:
        """Host of what stands outside all regions: front, console, link."""
        return f"{self.network}.1"

    @property
    def demo_host(self) -> str:
        """Host of the demo's single node."""
        return f"{self.network}.9"

    @property
    def named(self) -> str:
        """How a browser names the first host: ``localhost`` on the default network."""
        return "localhost" if self.network == "127.0.0" else self.first

    @property
    def front(self) -> str:
        """Public URL of the front."""
        return f"http://{self.named}:8000"

    @property
    def console(self) -> str:
        """URL of the supervisor's own API."""
        return f"http://{self.first}:8001"

    @property
    def link(self) -> str:
        """URL of the link process's control."""
        return f"http://{self.first}:8005"

    def edge(self, region: str) -> str:
        """Public URL of a region's edge."""
        return f"http://{self.host(region)}:8080"

    def origin(self, region: str) -> str:
        """Public URL of a region's media origin."""
        return f"http://{self.host(region)}:8081"

    def cell(self, region: str, cell: str) -> str:
        """``host:port`` of a cell."""
        return f"{self.host(region)}:{CELL_PORTS[cell]}"

    def studio(self, region: str) -> str:
        """URL of a region's studio cell."""
        return f"http://{self.cell(region, 'studio')}"

    def link_port(self, region: str, peer: str) -> int:
        """Port on ``region``'s host where its link to ``peer`` listens."""
        others = [r for r in REGIONS if r != region]
        return 8083 + others.index(peer)
