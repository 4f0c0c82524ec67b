"""The demo content: a channel and titles of ten minutes, ready in less than a minute, cut together from a few pieces.

Promises: everything goes through the packaging of ingest; a run that was killed goes on where it was; the same bytes in
every region, so that each could make its own; Big Buck Bunny (CC BY 3.0, Blender Foundation) is credited in the picture
and in the catalogue, and left out where its footage is not at hand.
May not know: the studio. The caller registers what this returns.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from eisbach.domain.catalog import Asset, Channel, Programme, RightsWindow, Title
from eisbach.domain.channels import programme_ms
from eisbach.kernel.errors import Unavailable
from eisbach.media.jobs import Workspace
from eisbach.media.package import PackageParts, join_parts, package_asset
from eisbach.media.plan import AudioTrack, Plan, Rung, TextSource
from eisbach.media.sandbox import Confinement, Limits, run_tool
from eisbach.media.scenes import FPS, GENERATED, PIECE_S, Scene, bunny_scene, draw_picture, make_sound
from eisbach.media.tools import MediaTools

__all__ = ["DEMO_CHANNEL", "DemoContent", "make_demo"]

DEMO_CHANNEL: Final = "demo"
_START_MS: Final = 1_735_689_600_000  # 2025-01-01: past on every clock, and the same in every region
_PIECES: Final = 25  # of 24 s: ten minutes
_MARKETS: Final = ("de", "at")
_BUNNY_CREDIT: Final = "Big Buck Bunny (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org, CC BY 3.0"
_LADDER: Final = (
    Rung(id="v360", width=640, height=360, kbits=600),
    Rung(id="v240", width=426, height=240, kbits=260),
)
_VOICES: Final = (
    AudioTrack(id="a-de", index=0, language="de", role="main", kbits=64),
    AudioTrack(id="a-en", index=1, language="en", role="main", kbits=64),
)
_DESCRIBED: Final = AudioTrack(id="a-de-ad", index=2, language="de", role="description", kbits=64)
_TITLES: Final = {
    "bunny": ("Big Buck Bunny, remixed", "Big Buck Bunny, neu gemischt", ("animation", "family")),
    "waves": ("Waves", "Wellen", ("ambient",)),
    "life": ("Game of Life", "Spiel des Lebens", ("science", "ambient")),
    "fractal": ("Into the Mandelbrot Set", "In die Mandelbrotmenge", ("science",)),
    "testcard": ("Test Card, the Movie", "Testbild, der Film", ("family",)),
}
_SYNOPSES: Final = {
    "en": "Ten minutes with burnt-in time code, made on this machine when Eisbach first started.",
    "de": "Zehn Minuten mit eingebranntem Zeitcode, beim ersten Start von Eisbach auf dieser Maschine erzeugt.",
}
_PLAN: Final = Plan(
    source="", container="", fps=FPS, frames=_PIECES * PIECE_S * FPS, rungs=list(_LADDER), audio=list(_VOICES)
)
_JOIN_LIMITS = Limits(wall=timedelta(minutes=5), cpu=timedelta(minutes=5))

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what was done)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoContent:
    """What was made: the assets lie in ``media/vod/ASSET``; nothing is registered anywhere."""

    assets: Sequence[Asset]
    titles: Sequence[Title]
    """One per asset, in the same order, ready to publish."""
    channel: Channel


async def make_demo(
    workspace: Workspace, tools: MediaTools, footage: Path | None, progress: Progress, *, parallel: int = 2
) -> DemoContent:
    """Make whatever is not there yet.

    Args:
        workspace: the region's blob folder.
        tools: the binaries.
        footage: Big Buck Bunny, None to do without.
        progress: for people.
        parallel: how many tools run at once; 1 leaves a core for others.

    Raises:
        ToolFailed, Unavailable: call again, it goes on where it was.
    """
    scenes = ([bunny_scene(footage)] if footage is not None else []) + list(GENERATED)
    kitchen = _Kitchen(workspace, tools, asyncio.Semaphore(parallel), scenes, progress)
    found = [_recorded(workspace, scene) for scene in scenes]
    if any(asset is None for asset in found):
        async with asyncio.TaskGroup() as group:
            for scene in scenes:
                group.create_task(kitchen.make_pieces(scene))
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(kitchen.make_title(scene)) for scene in scenes]
        found = [task.result() for task in made]
        shutil.rmtree(kitchen.pieces)
    assets = [asset for asset in found if asset is not None]
    titles = [_title(scene, asset) for scene, asset in zip(scenes, assets, strict=True)]
    return DemoContent(assets=assets, titles=titles, channel=_channel(assets))


class _Kitchen:
    """One run: what its steps share."""

    def __init__(
        self,
        workspace: Workspace,
        tools: MediaTools,
        gate: asyncio.Semaphore,
        scenes: Sequence[Scene],
        progress: Progress,
    ) -> None:
        self._workspace, self._tools, self._gate, self._scenes = workspace, tools, gate, scenes
        self._done, self._progress = 0, progress
        self.pieces = workspace.work("demo-pieces")

    def _tell(self, what: str) -> None:
        self._done += 1
        self._progress(self._done, 2 * len(self._scenes), what)

    async def make_pieces(self, scene: Scene) -> None:
        """Every file of a piece appears whole; what is there is not made again."""
        voices = ["de", "en", "ad"] if _is_described(scene) else ["de", "en"]
        wanted = [self.pieces / f"{scene.id}-{rung.id}.mp4" for rung in _LADDER]
        wanted += [self.pieces / f"{scene.id}-{voice}.aac" for voice in voices]
        async with self._gate:
            if not all(path.exists() for path in wanted):
                draft = self.pieces / f".{scene.id}"
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir()
                made = await draw_picture(scene, _PLAN, draft, self._tools)
                for voice in voices:
                    made.append(await make_sound(scene, voice, draft, self._tools))
                for path in made:
                    path.replace(self.pieces / path.name)
                draft.rmdir()
        self._tell(f"scene {scene.id} encoded")

    async def make_title(self, scene: Scene) -> Asset:
        """Join, package, record; what is recorded is not made again."""
        known = _recorded(self._workspace, scene)
        if known is not None:
            self._tell(f"title {scene.id} was there")
            return known
        asset_id = _asset_id(scene)
        async with self._gate:
            with self._workspace.scratch(asset_id) as scratch:
                parts = await self._join(scene, scratch)
                credit = _BUNNY_CREDIT if any(piece.footage for piece in _sequence(scene, self._scenes)) else ""
                plan = msgspec.structs.replace(_PLAN, credit=credit)
                target = self._workspace.media(asset_id)
                asset = await package_asset(asset_id, plan, parts, scratch=scratch, target=target, tools=self._tools)
                draft = scratch / "asset.json"
                draft.write_bytes(msgspec.json.encode(asset))
                draft.replace(self._workspace.work(asset_id) / "asset.json")
        self._tell(f"title {scene.id} packaged")
        return asset

    async def _join(self, scene: Scene, scratch: Path) -> PackageParts:
        order = _sequence(scene, self._scenes)
        video = []
        for rung in _LADDER:
            joined = scratch / f"{rung.id}.mp4"
            pictures = [self.pieces / f"{piece.id}-{rung.id}.mp4" for piece in order]
            await join_parts(pictures, joined, tools=self._tools)
            video.append((rung, joined))
        audio = []
        for track in (*_VOICES, *([_DESCRIBED] if _is_described(scene) else [])):
            sound = [self.pieces / f"{piece.id}-{_voice(track, piece)}.aac" for piece in order]
            audio.append((track, await _join_sound(sound, scratch / f"{track.id}.mp4", self._tools)))
        text = [_subtitles(language, scene, order, scratch) for language in ("de", "en")]
        return PackageParts(video=video, audio=audio, text=text)


def _voice(track: AudioTrack, piece: Scene) -> str:
    """Which sound of a piece a track takes: only one scene has a described one, its glances at others have not."""
    return "ad" if track.role == "description" and _is_described(piece) else track.language


def _is_described(scene: Scene) -> bool:
    return scene.id == "testcard"


def _asset_id(scene: Scene) -> str:
    return f"demo-{scene.id}"


def _recorded(workspace: Workspace, scene: Scene) -> Asset | None:
    record = workspace.work(_asset_id(scene)) / "asset.json"
    if record.exists() and (workspace.media(_asset_id(scene)) / "files.json").exists():
        return msgspec.json.decode(record.read_bytes(), type=Asset)
    return None


def _sequence(scene: Scene, scenes: Sequence[Scene]) -> list[Scene]:
    """A title's pieces: its own twice, then a glance at another, and so on."""
    others = [other for other in scenes if other.id != scene.id]
    return [scene if place % 3 < 2 else others[place // 3 % len(others)] for place in range(_PIECES)]


async def _join_sound(parts: Sequence[Path], output: Path, tools: MediaTools) -> Path:
    """ADTS streams join by appending bytes; the MP4 around them is made once."""
    stream = output.with_suffix(".aac")
    with stream.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-f", "aac", "-i", stream, "-c", "copy"]
    argv += ["-fflags", "+bitexact", "-f", "mp4", output]
    await run_tool(argv, Confinement(read=[stream], write=[output.parent], limits=_JOIN_LIMITS, foreign=False))
    return output


def _subtitles(language: str, scene: Scene, order: Sequence[Scene], folder: Path) -> tuple[TextSource, Path]:
    """A cue every four seconds that says where in the title it is: the pictures repeat, this does not."""
    title = _TITLES[scene.id][0 if language == "en" else 1]
    words = {"en": ("minute", "scene"), "de": ("Minute", "Szene")}[language]
    lines = ["WEBVTT", ""]
    for start in range(0, _PIECES * PIECE_S, 4):
        shown = order[start // PIECE_S].name.split("  ")[0].title()
        lines += [f"{_clock(start)}.000 --> {_clock(start + 4)}.000"]
        lines += [f"{title}: {words[0]} {start // 60:02d}:{start % 60:02d}", f"{words[1]} {shown}", ""]
    path = folder / f"{language}.vtt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return TextSource(language=language, source=path.name), path


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _title(scene: Scene, asset: Asset) -> Title:
    english, german, genres = _TITLES[scene.id]
    return Title(
        id=asset.id,
        revision=1,
        names={"en": english, "de": german},
        synopses=_SYNOPSES,
        asset=asset.id,
        state="published",
        genres=list(genres),
        rights=[RightsWindow(markets=list(_MARKETS))],
        credit=asset.credit,
        published_ms=_START_MS,
    )


def _channel(assets: Sequence[Asset]) -> Channel:
    if not assets:
        raise Unavailable("no demo asset was made; nothing can be shown on the demo channel")
    return Channel(
        id=DEMO_CHANNEL,
        revision=1,
        number=1,
        names={"en": "Eisbach One", "de": "Eisbach Eins"},
        markets=list(_MARKETS),
        start_ms=_START_MS,
        loop=[Programme(title=a.id, asset=a.id, duration_ms=programme_ms(a.duration_ms)) for a in assets],
    )
