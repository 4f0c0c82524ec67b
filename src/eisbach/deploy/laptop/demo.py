"""The demo content of ``eisbach up``: made once by a process of its own, then registered with the studios by their API.

Only the first region gets the files; the other regions copy them through relay, hub and spokes, as any asset.
The demo's single node gets copies of the files, and registers them in a studio of its own.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from eisbach.bootstrap.tools import locate_footage
from eisbach.deploy.laptop.addresses import RESIDENCIES
from eisbach.deploy.laptop.ceremony import write_private
from eisbach.deploy.laptop.platform import Platform
from eisbach.deploy.laptop.studio import Studio, is_published
from eisbach.kernel.errors import EisbachError, Retryable, Unavailable
from eisbach.media.demo import DEMO_CHANNEL, DemoContent
from eisbach.settings import CellProcess, DemoProcess, SingleProcess

__all__ = ["Demo", "register"]

_TRIES = 3
_LOOK_EVERY_S = 0.25
_COPIES_S = 300
"""For copies to every region; a few seconds on an idle machine."""
_PATIENCE = 120
"""Tries of one second to reach a studio: longer than any restart."""


class Demo:
    """One per run."""

    channel = DEMO_CHANNEL

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._state = "none"
        self._done, self._total, self._detail = 0, 0, ""
        self.finished = asyncio.Event()
        """Ready, failed, or not wanted."""

    def state(self) -> dict[str, Any]:
        """For ``status`` and ``/demo/config``."""
        return {"state": self._state, "done": self._done, "total": self._total, "detail": self._detail}

    async def run(self) -> None:
        """Make and register whatever is not there; a failure is told and hurts nothing else."""
        try:
            if self._platform.demo:
                content = await self._make()
                self._state, self._detail = "registering", "telling the studio"
                await self._register(content)
                missing = await self._copied(content)
                self._state = "ready"
                self._detail = f"channel {content.channel.id}, {len(content.titles)} titles{missing}"
        except (EisbachError, OSError) as error:
            self._state, self._detail = "failed", str(error)
        finally:
            self.finished.set()

    async def _make(self) -> DemoContent:
        documents, supervisor = self._platform.documents, self._platform.supervisor
        folder, blobs = documents.root / "demo", documents.folder(documents.regions[0]) / "blobs"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tools, footage = documents.tools, locate_footage()
        file = documents.root / "processes" / "demo.json"
        process = DemoProcess(
            folder=str(folder), blobs=str(blobs), ffmpeg=str(tools.ffmpeg), ffprobe=str(tools.ffprobe),
            packager=str(tools.packager), footage=str(footage or ""), unsafe_media=self._platform.settings.unsafe_media,
        )  # fmt: skip
        write_private(file, msgspec.json.encode(process))
        self._state = "making"
        content = folder / "content.json"
        content.unlink(missing_ok=True)
        code: int | None = None
        for _ in range(_TRIES):
            run = asyncio.create_task(supervisor.run_once("demo", file, folder=folder))
            while not run.done():
                await asyncio.wait([run], timeout=_LOOK_EVERY_S)
                self._look(folder / "progress.json")
            code = run.result()
            if code == 0:
                return msgspec.json.decode(content.read_bytes(), type=DemoContent)
        raise Unavailable(
            f"the demo content could not be made ({_TRIES} tries, last code {code}); see eisbach logs demo"
        )

    async def _copied(self, content: DemoContent) -> str:
        """Wait until the twin regions have the files: before, a region that is lost takes the only copy with it.

        What is missing after five minutes, in words; then the demo goes on without.
        """
        documents = self._platform.documents
        home = RESIDENCIES[documents.regions[0]]
        wanted = [
            documents.folder(region) / "blobs" / "media" / "vod" / asset.id / "files.json"
            for region in documents.regions
            if RESIDENCIES[region] == home
            for asset in content.assets
        ]
        self._detail = "copying to every region"
        for _ in range(_COPIES_S * 4):
            if all(path.exists() for path in wanted):
                return ""
            await asyncio.sleep(_LOOK_EVERY_S)
        missing = sum(not path.exists() for path in wanted)
        return f"; {missing} of {len(wanted)} copies are not there after {_COPIES_S} s, see eisbach status"

    def _look(self, path: Path) -> None:
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            found = msgspec.json.decode(path.read_bytes(), type=tuple[int, int, str])
            self._done, self._total, self._detail = found

    async def _register(self, content: DemoContent) -> None:
        documents = self._platform.documents
        blobs = documents.folder(documents.regions[0]) / "blobs"
        studios = []
        for spec in self._platform.topology.processes:
            document = spec.document.cell if isinstance(spec.document, SingleProcess) else spec.document
            if isinstance(document, CellProcess) and document.studio and document.region == documents.regions[0]:
                studios.append((spec.url, Path(document.blobs)))
        token = self._platform.operator_token
        async with asyncio.TaskGroup() as group:
            for url, own in studios:
                if own != blobs:
                    await asyncio.to_thread(_copy, blobs / "media" / "vod", own / "media" / "vod", content)
                group.create_task(register(content, url, token=token))


def _copy(source: Path, target: Path, content: DemoContent) -> None:
    """Whole folders, each appearing at once; what is there stays."""
    target.mkdir(parents=True, exist_ok=True)
    for asset in content.assets:
        if not (target / asset.id).exists():
            part = target / f".{asset.id}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source / asset.id, part)
            part.rename(target / asset.id)


async def register(content: DemoContent, url: str, *, token: str) -> None:
    """Tell a studio of assets, titles and channel; what it knows already stays as it is.

    Raises:
        Rejected: the studio refuses; the message has its words.
        Unavailable: it did not answer for two minutes.
    """
    async with Studio(url, token=token) as studio:
        known = await _patiently(studio, "GET", "/studio/titles", None)
        published = {title["id"]: title for title in known["titles"] if is_published(title)}
        for asset, title in zip(content.assets, content.titles, strict=True):
            await _patiently(studio, "POST", f"/studio/assets/{asset.id}/ready", asset)
            if published.get(title.id, {}).get("asset") == asset.id:
                continue
            draft: Mapping[str, Any] = {**msgspec.to_builtins(title), "state": "draft"}
            await _patiently(studio, "PUT", f"/studio/titles/{title.id}", draft)
            await _patiently(studio, "POST", f"/studio/titles/{title.id}/publish", {})
        await _patiently(studio, "PUT", f"/studio/channels/{content.channel.id}", content.channel)


async def _patiently(studio: Studio, method: str, path: str, body: Any) -> Any:
    for left in range(_PATIENCE, -1, -1):
        try:
            return await studio.call(method, path, body)
        except Retryable:
            if left == 0:
                raise
            await asyncio.sleep(1)
    raise AssertionError("the loop above returns or raises")
