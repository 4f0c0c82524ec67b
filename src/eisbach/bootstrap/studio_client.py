"""The studio over HTTP, for spokes and workers: commands, jobs, and what reconcilers read.

Promises: answers become the error tree: 429 and 5xx are ``Retryable`` (a lost answer too, since every call may be
repeated under its key or fence), other refusals ``Rejected`` with the studio's own words.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from eisbach.cell.studio_snapshot import document_of
from eisbach.domain.catalog import Asset, Channel
from eisbach.domain.ingest import AssetRecord
from eisbach.domain.jobs import LeasedJob
from eisbach.kernel.errors import (
    Denied,
    EisbachError,
    Invalid,
    LeaseLost,
    NotFound,
    Overloaded,
    Unavailable,
    VersionConflict,
)
from eisbach.kernel.events import Event
from eisbach.kernel.ids import derived_id
from eisbach.spokes.job_reconciler import BatchState
from eisbach.spokes.media_copies import KnownAsset

__all__ = ["HttpJobDesk", "HttpMedia", "HttpStudio"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, sock_connect=1)
_MEDIA_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=1, sock_read=10)
_PIECE: Final = 256 * 1024


class _View(msgspec.Struct):
    record: AssetRecord
    regions: list[str]


class _Assets(msgspec.Struct):
    assets: list[_View]


class _Channels(msgspec.Struct):
    channels: list[Channel]


class _Snapshot(msgspec.Struct):
    events: list[Event[msgspec.Raw]]
    after: str


class _Batches(msgspec.Struct):
    jobs: list[BatchState]


class _Regions(msgspec.Struct):
    regions: dict[str, bool]


class HttpStudio:
    """``CommandTransport``, ``JobSource``, ``StudioShelf`` and ``Snapshots`` of one region."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, token: str) -> None:
        self._session, self._url = session, url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        """See ``CommandTransport``."""
        await self.ask("POST", path, body, key=key)

    async def lease(self, worker: str, kinds: Sequence[str], *, wait_ms: int) -> LeasedJob | None:
        """See ``JobSource``."""
        body = msgspec.json.encode({"worker": worker, "kinds": list(kinds), "wait_ms": wait_ms})
        raw = await self.ask("POST", "/studio/jobs:lease", body)
        return msgspec.json.decode(raw, type=LeasedJob) if raw else None

    async def heartbeat(self, job: LeasedJob, *, progress: float) -> None:
        """See ``JobSource``."""
        await self._report(job, "heartbeat", {"progress": progress})

    async def complete(self, job: LeasedJob, result: object) -> None:
        """See ``JobSource``."""
        await self._report(job, "complete", {"result": result})

    async def fail(self, job: LeasedJob, *, reason: str, final: bool) -> None:
        """See ``JobSource``."""
        await self._report(job, "fail", {"reason": reason[:2000], "final": final})

    async def ready_assets(self) -> Sequence[KnownAsset]:
        """See ``StudioShelf``."""
        found = msgspec.json.decode(await self.ask("GET", "/studio/assets"), type=_Assets)
        return [
            KnownAsset(id=view.record.id, files_sha256=view.record.asset.files_sha256, regions=view.regions)
            for view in found.assets
            if view.record.state == "ready" and view.record.asset is not None
        ]

    async def channels(self) -> Sequence[Channel]:
        """See ``StudioShelf``."""
        return msgspec.json.decode(await self.ask("GET", "/studio/channels"), type=_Channels).channels

    async def copied(self, asset: str, region: str, files_sha256: str) -> None:
        """See ``StudioShelf``."""
        body = msgspec.json.encode({"files_sha256": files_sha256})
        key = derived_id("copy", asset, region, files_sha256)
        await self.post(f"/studio/assets/{asset}/at/{region}", body, key=key)

    async def snapshot(self, *, after: str, limit: int) -> tuple[Sequence[Event], str]:
        """See ``Snapshots``."""
        raw = await self.ask("GET", f"/studio/snapshot?after={quote(after, safe='/')}&limit={limit}")
        page = msgspec.json.decode(raw, type=_Snapshot)
        return page.events, page.after

    def document(self, event: Event) -> str:
        """See ``Snapshots``."""
        return document_of(event)

    async def reachable(self) -> str | None:
        """None when the studio answers, else what is wrong."""
        try:
            await self.ask("GET", "/healthz")
        except EisbachError as error:
            return str(error)
        return None

    async def _report(self, job: LeasedJob, verb: str, body: Mapping[str, object]) -> None:
        raw = msgspec.json.encode({"fence": job.fence, **body})
        await self.ask("POST", f"/studio/jobs/{job.job}/{verb}", raw)

    async def ask(self, method: str, path: str, body: bytes | None = None, *, key: str | None = None) -> bytes:
        """The answer's body.

        Raises:
            EisbachError: the studio's refusal, or ``Unavailable``.
        """
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"{method} {path}: the studio at {self._url} cannot be reached ({said})") from error
        if response.status >= 300:
            raise _refusal(f"{method} {path}", response.status, raw)
        return raw


class HttpJobDesk:
    """``JobDesk`` of one region's studio."""

    def __init__(self, studio: HttpStudio) -> None:
        self._ask = studio.ask

    async def records(self) -> Sequence[AssetRecord]:
        """See ``JobDesk``."""
        found = msgspec.json.decode(await self._ask("GET", "/studio/assets"), type=_Assets)
        return [view.record for view in found.assets]

    async def batches(self, asset: str) -> Sequence[BatchState]:
        """See ``JobDesk``."""
        return msgspec.json.decode(await self._ask("GET", f"/studio/jobs?asset={asset}"), type=_Batches).jobs

    async def left_regions(self) -> Collection[str]:
        """See ``JobDesk``."""
        said = msgspec.json.decode(await self._ask("GET", "/studio/regions"), type=_Regions).regions
        return {region for region, serves in said.items() if not serves}

    async def ready(self, asset: Asset) -> None:
        """See ``JobDesk``."""
        await self._ask("POST", f"/studio/assets/{asset.id}/ready", msgspec.json.encode(asset))

    async def restart(self, asset: str, *, round_: int, reason: str) -> None:
        """See ``JobDesk``."""
        body = msgspec.json.encode({"round": round_, "reason": reason})
        await self._ask("POST", f"/studio/assets/{asset}/restart", body)

    async def reject(self, asset: str, *, reason: str) -> None:
        """See ``JobDesk``."""
        await self._ask("POST", f"/studio/assets/{asset}/reject", msgspec.json.encode({"reason": reason}))

    async def sweep(self, asset: str) -> None:
        """See ``JobDesk``."""
        await self._ask("POST", "/studio/jobs:sweep", msgspec.json.encode({"asset": asset}))


class HttpMedia:
    """``MediaSources``, ``UploadSources`` and claims: the other regions' origins, through their peer doors."""

    def __init__(self, session: aiohttp.ClientSession, doors: Mapping[str, str], *, token: str) -> None:
        """``doors``: region -> ``http://host:port``."""
        self._session, self._doors = session, doors
        self._headers = {"Authorization": f"Bearer {token}"}

    async def fetch(self, region: str, path: str) -> AsyncIterator[bytes]:
        """See ``MediaSources``."""
        async for piece in self._get(region, f"media/{path}"):
            yield piece

    async def fetch_upload(self, region: str, upload: str) -> AsyncIterator[bytes]:
        """See ``UploadSources``."""
        async for piece in self._get(region, f"uploads/{upload}"):
            yield piece

    async def fetch_claim(self, region: str, key: str) -> AsyncIterator[bytes]:
        """See ``ClaimChecks``."""
        async for piece in self._get(region, key):
            yield piece

    async def _get(self, region: str, path: str) -> AsyncIterator[bytes]:
        if region not in self._doors:
            raise Unavailable(f"region {region!r} is not a peer of this one; known are {sorted(self._doors)}")
        url = f"{self._doors[region]}/peer/{path}"
        try:
            async with self._session.get(url, headers=self._headers, timeout=_MEDIA_TIMEOUT) as response:
                if response.status == 404:
                    raise NotFound(f"{url}: not there")
                if response.status != 200:
                    raise Unavailable(f"{url}: answered {response.status}")
                async for piece in response.content.iter_chunked(_PIECE):
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{url}: {str(error) or type(error).__name__}") from error


def _refusal(asked: str, status: int, raw: bytes) -> EisbachError:
    """The error that the studio meant; its words are in the problem's ``detail``."""
    code, detail = "", raw[:200].decode(errors="replace")
    try:
        found: Any = msgspec.json.decode(raw)
        if isinstance(found, dict):
            code, detail = str(found.get("code", "")), str(found.get("detail", detail))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not a problem document: a proxy's page, quoted as it is
    message = f"{asked}: {status} {detail}"
    if code == "lease_lost":
        return LeaseLost(detail)
    if status == 429:
        return Overloaded(message)
    if status >= 500 or status in (408, 421):
        # 421: the studio's slot is on its way to another cell; the map follows.
        return Unavailable(message)
    known = {400: Invalid, 404: NotFound, 409: VersionConflict}
    if status in known:
        return known[status](message)
    return Denied(message, code=code or "refused")
