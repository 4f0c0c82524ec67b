"""TARGET words of the command line, to the processes they mean; an unknown one is refused with the nearest.

Pure. ``region/R`` is every process of a region (not its link ends, which stand for the wide-area network);
``spoke/R/NAME`` is one spoke of the region's spoke host; the process that runs it is ``spokes/R``.
"""

import difflib
from collections.abc import Sequence

from eisbach.deploy.laptop.topology import Topology
from eisbach.kernel.errors import NotFound

__all__ = ["UnknownTarget", "known_targets", "resolve"]


class UnknownTarget(NotFound):
    """No process has that name; ``nearest`` is a good guess."""

    def __init__(self, target: str, nearest: str) -> None:
        """``nearest``: the known target that is spelled most alike."""
        super().__init__(f"no target {target[:80]!r}; did you mean {nearest!r}? eisbach status lists all of them")
        self.nearest = nearest


def known_targets(topology: Topology) -> Sequence[str]:
    """Everything a person may name: processes and regions."""
    regions = [f"region/{region}" for region in topology.regions if _of_region(topology, region)]
    return [*regions, *topology.targets()]


def resolve(target: str, topology: Topology) -> list[str]:
    """Process targets that ``target`` means, in the order of start.

    Raises:
        UnknownTarget: nothing has that name.
    """
    kind, _, rest = target.partition("/")
    if kind == "region" and (found := _of_region(topology, rest)):
        return found
    if target in topology.targets():
        return [target]
    if kind == "spoke":
        host = f"spokes/{rest.partition('/')[0]}"
        if host in topology.targets():
            return [host]
    if kind == "worker":
        found = [name for name in topology.targets() if name.startswith(f"{target}/")]
        if found:
            return found
    known = known_targets(topology)
    nearest = difflib.get_close_matches(target, known, n=1, cutoff=0.0)
    raise UnknownTarget(target, nearest[0] if nearest else "single")


def _of_region(topology: Topology, region: str) -> list[str]:
    return [spec.target for spec in topology.processes if region and spec.region == region]
