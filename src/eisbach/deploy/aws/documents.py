"""What a function or a task is told at its start: one JSON document in ``PROCESS_DOCUMENT``.

Strict both ways: stacks write it from the platform file, handlers refuse what they do not know.
"""

import os
from collections.abc import Mapping, Sequence

import msgspec

from eisbach.deploy.aws.platform_file import Cell, Platform, Region
from eisbach.kernel.errors import Invalid

__all__ = [
    "VARIABLE", "CellDocument", "ClaimsDocument", "Document", "JobsDocument", "MediaDocument", "SpokeDocument",
    "cell_document", "claims_document", "jobs_document", "media_document", "read_document", "spoke_document",
]  # fmt: skip

VARIABLE = "PROCESS_DOCUMENT"


class CellDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cell"):
    """A cell: as a function, as a task, as the relay of its log."""

    region: str
    aws_region: str
    cell: str
    group: str
    studio: bool
    slot_count: int
    slots: tuple[int, int]
    """First slot, and the one after the last, that are its own while its table is new."""
    log_table: str
    state_table: str
    prefix: str
    """Of the hub's topic, queues and table."""
    secret: str
    """Name in Secrets Manager."""
    address: str
    """``https://`` name under which the region answers."""
    front: str
    media: dict[str, str]
    """Region of ours, this one included -> address of its media."""
    twins: dict[str, str]
    """Region of ours -> its address."""
    groups: tuple[str, ...]
    """Of the whole platform."""
    residency: str
    blobs: str = ""
    """``s3:REGION/BUCKET``, of the studio: uploads and claims."""
    backups: str = ""
    """``s3:REGION/BUCKET`` of the region's backups; empty (the studio): none."""
    store: str = "dynamodb"
    """``dynamodb``; or ``sqlite:FOLDER``, which only a rehearsal says: a sandbox's disk is gone with it."""


class SpokeDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="spoke"):
    """One spoke in a region."""

    region: str
    aws_region: str
    spoke: str
    state_table: str
    """Where its inbox lies: the studio cell's."""
    hub_table: str
    secret: str
    studio: str
    """``https://`` name of the region, whose studio cell takes commands."""
    blobs: str
    """``s3:REGION/BUCKET``: payloads above 64 KiB."""
    copies: dict[str, str]
    """Other region -> where its blobs are copied to in this one, in the same form."""


class MediaDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="media"):
    """The media workers of a region."""

    region: str
    aws_region: str
    secret: str
    studio: str
    blobs: str
    convert: str = ""
    """ARN of MediaConvert's role; empty: the worker encodes."""


class ClaimsDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="claims"):
    """The sweep of a region's payloads above 64 KiB."""

    region: str
    aws_region: str
    spokes: tuple[str, ...]
    """Of the region: all whose waiting events and dead letters may name a claim."""
    state_table: str
    blobs: str
    copies: dict[str, str]


class JobsDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="jobs"):
    """The reconciler of a region's media work."""

    region: str
    aws_region: str
    regions: tuple[str, ...]
    """Of the platform that have a studio: the first by name that was not left takes over."""
    secret: str
    studio: str
    blobs: str


Document = CellDocument | SpokeDocument | MediaDocument | ClaimsDocument | JobsDocument


def cell_document(platform: Platform, region: Region, cell: Cell) -> str:
    """As JSON."""
    slots = platform.slots_of(cell)
    return msgspec.json.encode(
        CellDocument(
            region=region.name,
            aws_region=region.aws,
            cell=cell.name,
            group=cell.group,
            studio=cell.is_studio,
            slot_count=platform.slots,
            slots=(slots.start, slots.stop),
            log_table=platform.log_table(cell),
            state_table=platform.state_table(cell),
            prefix=platform.name,
            secret=f"{platform.name}/{region.name}/{cell.name}",
            address=f"https://{platform.dns.regional(region.name)}",
            front=f"https://{platform.dns.viewers}",
            media={r.name: f"https://{platform.dns.media(r.name)}" for r in (region, *platform.twins(region))},
            twins={r.name: f"https://{platform.dns.regional(r.name)}" for r in platform.twins(region)},
            groups=tuple(dict.fromkeys(c.group for c in platform.cell)),
            residency=region.residency,
            blobs=platform.sources(region) if cell.is_studio else "",
            backups="" if cell.is_studio else f"s3:{region.aws}/{platform.bucket(region, 'backups')}",
        )
    ).decode()


def spoke_document(platform: Platform, region: Region, spoke: str) -> str:
    """As JSON."""
    studio = platform.studio_cell
    return msgspec.json.encode(
        SpokeDocument(
            region=region.name,
            aws_region=region.aws,
            spoke=spoke,
            state_table=platform.state_table(studio),
            hub_table=platform.hub_table(),
            secret=f"{platform.name}/{region.name}/{studio.name}",
            studio=platform.studio_at(region),
            blobs=platform.blobs(region),
            copies=_copies(platform, region),
        )
    ).decode()


def claims_document(platform: Platform, region: Region, spokes: Sequence[str]) -> str:
    """As JSON."""
    return msgspec.json.encode(
        ClaimsDocument(
            region=region.name,
            aws_region=region.aws,
            spokes=tuple(spokes),
            state_table=platform.state_table(platform.studio_cell),
            blobs=platform.blobs(region),
            copies=_copies(platform, region),
        )
    ).decode()


def _copies(platform: Platform, region: Region) -> dict[str, str]:
    return {r.name: f"s3:{region.aws}/{platform.copies(region, of=r)}" for r in platform.twins(region)}


def media_document(platform: Platform, region: Region) -> str:
    """As JSON."""
    return msgspec.json.encode(
        MediaDocument(
            region=region.name,
            aws_region=region.aws,
            secret=f"{platform.name}/{region.name}/{platform.studio_cell.name}",
            studio=platform.studio_at(region),
            blobs=platform.sources(region),
            convert=platform.convert_role(region),
        )
    ).decode()


def jobs_document(platform: Platform, region: Region) -> str:
    """As JSON."""
    return msgspec.json.encode(
        JobsDocument(
            region=region.name,
            aws_region=region.aws,
            regions=tuple(one.name for one in platform.region),
            secret=f"{platform.name}/{region.name}/{platform.studio_cell.name}",
            studio=platform.studio_at(region),
            blobs=platform.blobs(region),
        )
    ).decode()


def read_document(environment: Mapping[str, str] = os.environ) -> Document:
    """The document of this process.

    Raises:
        Invalid: there is none, or it is not one of ours; the message has the field.
    """
    text = environment.get(VARIABLE)
    if not text:
        raise Invalid(f"no {VARIABLE} in the environment; the stacks of eisbach deploy set it")
    try:
        found: Document = msgspec.json.decode(text, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{VARIABLE} is not a document of Eisbach: {error}") from error
    return found
