"""``platform.toml``: which platform is to be on AWS. Strict: unknown keys, wrong names and dangling words are refused.

Promises: what is read is consistent (cells name groups, certificates name regions); every resource's name comes from
here. May not know: CDK, AWS's API.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from eisbach.kernel.errors import EisbachError, Invalid
from eisbach.kernel.slots import STUDIO_GROUP, Group

__all__ = ["Capacity", "Cell", "Compute", "Dns", "Platform", "Region", "Watch", "load_platform"]

_BYTES_MAX = 1 << 18
_NAME = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
_Name = Annotated[str, msgspec.Meta(pattern=_NAME)]
_AwsRegion = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
_Zone = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$")]
_Arn = Annotated[str, msgspec.Meta(pattern=r"^arn:aws[\w-]*:acm:[\w-]+:\d{12}:certificate/[\w-]{1,64}$")]


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A serving region."""

    name: _Name
    """Ours: ``eu-central``."""
    aws: _AwsRegion
    residency: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}$")]
    zones: Annotated[tuple[_Zone, ...], msgspec.Meta(min_length=2, max_length=6)]
    countries: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")], ...], msgspec.Meta(max_length=80)
    ] = ()


_Units = Annotated[int, msgspec.Meta(ge=1, le=40_000)]


class Capacity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a table whose capacity is provisioned and scales: units a second (docs/decisions/0026)."""

    write_least: _Units
    """Always there and always paid: what a kick-off that nobody booked begins from."""
    write_most: _Units
    read_least: _Units
    read_most: _Units
    target: Annotated[int, msgspec.Meta(ge=20, le=90)] = 70
    """Percent of it that is to be in use."""

    @property
    def falls(self) -> str:
        """The direction whose most is below its least; empty: none."""
        pairs = {"write": (self.write_least, self.write_most), "read": (self.read_least, self.read_most)}
        return next((name for name, (least, most) in pairs.items() if least > most), "")


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell, in every region of its residency."""

    name: _Name
    group: str
    share: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    capacity: Capacity | None = None
    """Of its log in every region; without it the log is on demand, as its state table is in any case."""

    @property
    def is_studio(self) -> bool:
        """Whether it is the studio cell."""
        return self.group == str(STUDIO_GROUP)


class Dns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names and certificates; the zone exists already."""

    zone: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9-]+\.)+[a-z]{2,}$")]
    zone_id: Annotated[str, msgspec.Meta(pattern=r"^Z[A-Z0-9]{5,31}$")]
    host: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+$")]
    certificate: _Arn
    """For the CDN: it must be in us-east-1, for ``host.zone`` and each ``media-REGION.host.zone``."""
    regional_certificates: dict[str, _Arn]
    """By region, for ``api.host.zone`` and ``REGION.host.zone``."""
    accelerator: bool = False
    """A Global Accelerator before the balancers: two fixed addresses, 18 USD a month and a fee a GB."""

    @property
    def viewers(self) -> str:
        """What viewers open."""
        return f"{self.host}.{self.zone}"

    @property
    def calls(self) -> str:
        """Where calls go, by place and latency."""
        return f"api.{self.host}.{self.zone}"

    def regional(self, region: str) -> str:
        """One region's own name."""
        return f"{region}.{self.host}.{self.zone}"

    def media(self, region: str) -> str:
        """Where players find the media of a region: a host each, since players give up hosts."""
        return f"media-{region}.{self.host}.{self.zone}"


class Compute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of functions and tasks."""

    door: Literal["alb", "http-api"] = "alb"
    image: str = ""
    """Container image of the cells, by tag or digest; needed behind ``alb``."""
    memory_mb: Annotated[int, msgspec.Meta(ge=128, le=10_240)] = 512
    task_vcpu: Annotated[float, msgspec.Meta(ge=0.25, le=16)] = 0.5
    task_gb: Annotated[int, msgspec.Meta(ge=1, le=120)] = 1
    tasks_min: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 2
    tasks_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 40
    spill_weight: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    """Thousandths of the calls that functions get when the stack is new."""
    media_tasks: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    """Media workers a region; each works on one job at a time. 0: work waits."""
    media_encoder: Literal["tasks", "mediaconvert"] = "tasks"
    """Who encodes the picture: the media workers, or MediaConvert, for which they wait; the rest is theirs."""
    media_vcpu: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    media_gb: Annotated[int, msgspec.Meta(ge=2, le=120)] = 8
    media_disk_gb: Annotated[int, msgspec.Meta(ge=21, le=200)] = 100
    """Of each worker: room for one source, its chunks and what becomes of it."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """Reserved for each cell's function: a cell in trouble takes no other cell's."""


class Watch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told, and from which bill on."""

    mail: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    budget_usd: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]{1,15}$")]
    """First word of every resource's name."""
    account: Annotated[str, msgspec.Meta(pattern=r"^\d{12}$")]
    region: Annotated[tuple[Region, ...], msgspec.Meta(min_length=1, max_length=4)]
    cell: Annotated[tuple[Cell, ...], msgspec.Meta(min_length=1, max_length=20)]
    dns: Dns
    compute: Compute
    watch: Watch
    slots: Annotated[int, msgspec.Meta(ge=1, le=9999)] = 1024
    studio: Annotated[str, msgspec.Meta(pattern=r"^(https://[a-z0-9.-]+)?$")] = ""
    """Where the studio cell answers, when it runs on a host of yours. Empty: here, at the region's name."""
    hub_capacity: Capacity | None = None
    """Of the hub's table in each region; without it: on demand."""
    given: tuple[Literal["logs", "hub", "names"], ...] = ()
    """What somebody else makes, under the names from here (``examples/terraform``): global tables, topics and queues,
    records. The stacks then refer to it and make none of it."""

    def twins(self, region: Region) -> list[Region]:
        """The other regions that may have this one's data."""
        return [other for other in self.region if other != region and other.residency == region.residency]

    def cells_of(self, region: Region) -> list[Cell]:
        """The cells that run there: those of its residency, and those of any."""
        return [c for c in self.cell if Group.parse(c.group).residency in (region.residency, "any")]

    def regions_of(self, cell: Cell) -> list[Region]:
        """Where a cell runs."""
        return [region for region in self.region if cell in self.cells_of(region)]

    def slots_of(self, cell: Cell) -> range:
        """The slots of its group that are a cell's at first: by share, in the file's order."""
        same = [c for c in self.cell if c.group == cell.group]
        whole, before = sum(c.share for c in same), 0
        for one in same:
            if one == cell:
                return range(before * self.slots // whole, (before + one.share) * self.slots // whole)
            before += one.share
        raise Invalid(f"cell {cell.name!r} is not of this platform")

    @property
    def studio_cell(self) -> Cell:
        """There is one."""
        return next(cell for cell in self.cell if cell.is_studio)

    @property
    def has_studio(self) -> bool:
        """Whether the studio and the media workers run on AWS: they need containers."""
        return self.compute.door == "alb" and not self.studio

    def studio_at(self, region: Region) -> str:
        """Where it answers."""
        return self.studio or f"https://{self.dns.regional(region.name)}"

    def blobs(self, region: Region) -> str:
        """A region's blobs, as processes are told."""
        return f"s3:{region.aws}/{self.bucket(region, 'media')}"

    def sources(self, region: Region) -> str:
        """The same with the copies of other regions' uploads, from which their work is begun anew here.

        MediaConvert reads the region's own only, so with it there is nothing to begin from.
        """
        copies = [] if self.convert_role(region) else [self.copies(region, of=twin) for twin in self.twins(region)]
        return "+".join([self.blobs(region), *copies])

    def copies(self, at: Region, *, of: Region) -> str:
        """The bucket in ``at`` that holds copies of the blobs of ``of``."""
        return self.bucket(at, f"copies-{of.name}")

    def log_table(self, cell: Cell) -> str:
        """Global: the same name in every region."""
        return f"{self.name}-{cell.name}-log"

    def state_table(self, cell: Cell) -> str:
        """Regional: in each region its own."""
        return f"{self.name}-{cell.name}-state"

    def topic(self) -> str:
        """The hub of a region."""
        return f"{self.name}-hub.fifo"

    def hub_table(self) -> str:
        """The hub's memory, in each region."""
        return f"{self.name}-hub"

    def queue(self, spoke: str, *, dead: bool = False) -> str:
        """A spoke's queue in a region."""
        return f"{self.name}-{spoke}{'-dead' if dead else ''}.fifo"

    def convert_role(self, region: Region) -> str:
        """ARN of what MediaConvert may do in a region; empty when it does nothing here."""
        if self.compute.media_encoder != "mediaconvert":
            return ""
        return f"arn:aws:iam::{self.account}:role/{self.name}-{region.name}-mediaconvert"

    def media_keys(self) -> str:
        """The CDN's store of the keys of media tokens."""
        return f"{self.name}-media-keys"

    def bucket(self, region: Region, what: str) -> str:
        """Buckets have one name in the world."""
        return f"{self.name}-{self.account}-{region.name}-{what}"


def load_platform(path: Path) -> Platform:
    """Read and check the file.

    Raises:
        Invalid: with the file, the key and the value.
    """
    try:
        raw = path.read_bytes()[: _BYTES_MAX + 1]
        if len(raw) > _BYTES_MAX:
            raise Invalid(f"{path}: larger than {_BYTES_MAX} bytes; this is no platform file")
        found = msgspec.convert(tomllib.loads(raw.decode()), Platform)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from error
    if problem := _problem(found):
        raise Invalid(f"{path}: {problem}")
    return found


def _problem(platform: Platform) -> str | None:
    """What the types cannot say."""
    for kind, names in (("region", [r.name for r in platform.region]), ("cell", [c.name for c in platform.cell])):
        if twice := sorted({n for n in names if names.count(n) > 1}):
            return f"{kind} {twice[0]!r} is there twice"
    for region in platform.region:
        if region.name.startswith("media-"):
            return f"region {region.name!r} would have the name of another's media host; take one without media-"
        if wrong := [z for z in region.zones if not z.startswith(region.aws)]:
            return f"zone {wrong[0]!r} is not of {region.aws}"
        given = platform.dns.regional_certificates.get(region.name)
        if given is None:
            return f"dns.regional_certificates has none for region {region.name!r}"
        if given.split(":")[3] != region.aws:
            return f"the certificate of {region.name!r} is in {given.split(':')[3]}, not in {region.aws}"
    if platform.dns.certificate.split(":")[3] != "us-east-1":
        return f"dns.certificate is in {platform.dns.certificate.split(':')[3]}; a CDN takes it from us-east-1 only"
    for cell in platform.cell:
        try:
            Group.parse(cell.group)
        except EisbachError as error:
            return f"cell {cell.name!r}: {error}"
        if cell.capacity is not None and cell.capacity.falls:
            return f"cell {cell.name!r}: capacity.{cell.capacity.falls}_least is above {cell.capacity.falls}_most"
        if not platform.regions_of(cell):
            return f"cell {cell.name!r} of group {cell.group!r}: no region has its residency"
    if platform.hub_capacity is not None and (falls := platform.hub_capacity.falls):
        return f"hub_capacity.{falls}_least is above {falls}_most"
    if sum(c.is_studio for c in platform.cell) != 1:
        return f"there must be one cell of group {STUDIO_GROUP}, the studio"
    if platform.compute.door == "alb" and not re.fullmatch(r"[\w.-]+/[\w./-]+[:@][\w.:-]+", platform.compute.image):
        return f"compute.image {platform.compute.image!r} must be an image with tag or digest (the door is alb)"
    return None
