"""The bounds of what ``assess`` takes from strangers, and the one error it raises for a file."""

from typing import Final

from eisbach.kernel.errors import Invalid

__all__ = [
    "ALIASED_NODES_MAX",
    "ASSUMED_JOURNEYS_MAX",
    "COMPONENTS_MAX",
    "DEPENDENCIES_MAX",
    "DEPTH_MAX",
    "FILES_MAX",
    "FILE_BYTES_MAX",
    "HCL_BYTES_MAX",
    "JOURNEYS_MAX",
    "NODES_MAX",
    "Refused",
]

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A plan of 10,000 resources is about 20 MiB."""
HCL_BYTES_MAX: Final = 1024 * 1024
"""The parser of Terraform's language needs about 70 s of CPU for a MiB; such configurations have plans."""
FILES_MAX: Final = 5_000
"""Files looked at in one run; a folder with more is not one architecture."""
NODES_MAX: Final = 4_000_000
"""Values of one file before aliases are followed."""
ALIASED_NODES_MAX: Final = 4_000_000
"""Values of one file as if every alias were written out: nine lines of YAML can say 10^9 (the "billion laughs")."""
DEPTH_MAX: Final = 80
"""Nesting; a rendered Kubernetes CRD has about 30."""
COMPONENTS_MAX: Final = 50_000
DEPENDENCIES_MAX: Final = 500_000
ASSUMED_JOURNEYS_MAX: Final = 100
"""Doors taken for journeys where nobody declares any."""
JOURNEYS_MAX: Final = 1_000
"""Journeys of an overlay."""


class Refused(Invalid):
    """A file that is not read; says which, where and why."""

    def __init__(self, file: str, line: int, why: str) -> None:
        self.file, self.line, self.why = file, line, why
        super().__init__(f"{file}:{line}: {why}")
