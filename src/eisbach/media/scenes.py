"""The pieces of the demo content: what each looks and sounds like, drawn and encoded once.

Promises: the same bytes on every machine of one kind (fixed seeds, one encoder thread); each piece lasts 24 s, which is
twelve segments of picture and exactly 1125 AAC frames of sound, so pieces join without a seam; sound fades to silence
at both ends, so that a join does not click.
The time code is drawn with Pillow and piped in as raw frames: the ffmpeg in use has no ``drawtext``.
May not know: titles, channels.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Corrupt, Unavailable
from eisbach.media.encode import video_codec
from eisbach.media.plan import Plan
from eisbach.media.sandbox import Confinement, Limits, run_tool
from eisbach.media.tools import MediaTools

__all__ = ["FPS", "GENERATED", "PIECE_S", "Scene", "bunny_scene", "draw_picture", "make_sound"]

FPS: Final = 25
PIECE_S: Final = 24
_AAC_FRAMES: Final = PIECE_S * 48000 // 1024
_WIDTH, _HEIGHT, _STRIP = 640, 360, 44
# Pieces that are to be joined must have one parameter set; what a source says of its colours is part of it.
_COLOURS: Final = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
_LIMITS = Limits(wall=timedelta(minutes=5), cpu=timedelta(minutes=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One piece."""

    id: str
    name: str
    """Burnt in."""
    picture: str
    """ffmpeg filters that end in a 640 x 360 picture at 25 a second; ``[1:v]`` is the footage, if any."""
    tones: tuple[float, float, float]
    """A chord, in hertz: what tells the scenes apart with closed eyes."""
    footage: Path | None = None


GENERATED: Final = (
    Scene(
        id="waves",
        name="WAVES",
        picture=(
            "gradients=s=160x90:r=25:n=4:c0=0x0b3954:c1=0x087e8b:c2=0xbfd7ea:c3=0xff5a5f:speed=0.02:seed=7,"
            "format=yuv420p,scale=640:360:flags=bicubic"
        ),
        tones=(220.0, 277.2, 329.6),
    ),
    Scene(
        id="life",
        name="GAME OF LIFE",
        picture=(
            "life=s=80x45:r=5:seed=11:ratio=0.3:mold=12:life_color=0xf4d35e:death_color=0x28536b:mold_color=0x0d1b2a,"
            "format=yuv420p,fps=25,scale=640:360:flags=neighbor"
        ),
        tones=(261.6, 311.1, 392.0),
    ),
    Scene(
        id="fractal",
        name="MANDELBROT",
        picture=(
            "mandelbrot=s=320x180:r=25:start_scale=1.2:end_scale=0.05:end_pts=600:maxiter=200,"
            "format=yuv420p,scale=640:360:flags=bicubic"
        ),
        tones=(174.6, 220.0, 261.6),
    ),
    Scene(
        id="testcard",
        name="TEST CARD",
        picture=(
            "smptehdbars=s=640x360:r=25[bars];color=c=0xffffff:s=48x48:r=25[box];"
            "[bars][box]overlay=x='(W-w)/2*(1+sin(t*PI/5))':y='60+100*abs(sin(t*PI/3.5))'"
        ),
        tones=(440.0, 554.4, 659.3),
    ),
)


def bunny_scene(footage: Path) -> Scene:
    """Big Buck Bunny's 5.28 s: as it is, mirrored at half speed, without colour; then its credit, standing."""
    base = f"scale={_WIDTH}:{_HEIGHT},setsar=1,fps={FPS}:start_time=0,tpad=stop=-1:stop_mode=clone,trim=end_frame=132"
    return Scene(
        id="bunny",
        name="BIG BUCK BUNNY  (C) BLENDER FOUNDATION  CC BY 3.0",
        picture=(
            f"[1:v]{base},split=3[p][q][r];[q]hflip,setpts=2*PTS,fps={FPS}:start_time=0,"
            "tpad=stop=-1:stop_mode=clone,trim=end_frame=264[slow];"
            "[r]hue=s=0,tpad=stop=72:stop_mode=clone[grey];[p][slow][grey]concat=n=3"
        ),
        tones=(196.0, 246.9, 293.7),
        footage=footage,
    )


async def draw_picture(scene: Scene, plan: Plan, folder: Path, tools: MediaTools) -> list[Path]:
    """Encode the piece in every rung of ``plan``: ``folder/{scene}-{rung}.mp4``.

    Raises:
        ToolFailed: try again.
        Unavailable: Pillow is not installed.
    """
    frames = FPS * PIECE_S
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-filter_complex_threads", "1"]
    argv += ["-f", "rawvideo", "-pix_fmt", "gray", "-video_size", f"{_WIDTH}x{_STRIP}", "-framerate", str(FPS)]
    argv += ["-i", "pipe:0"]
    if scene.footage is not None:
        argv += ["-threads", "1", "-f", "mov", "-i", scene.footage]
    count = len(plan.rungs)
    graph = (
        f"{scene.picture},format=yuv420p,{_COLOURS},trim=end_frame={frames},setsar=1[bg];"
        f"[bg][0:v]overlay=0:H-h:shortest=1,split={count}" + "".join(f"[s{i}]" for i in range(count))
    )
    for place, rung in enumerate(plan.rungs):
        graph += f";[s{place}]scale={rung.width}:{rung.height},setsar=1[o{place}]"
    argv += ["-filter_complex", graph]
    outputs = [folder / f"{scene.id}-{rung.id}.mp4" for rung in plan.rungs]
    for place, (rung, output) in enumerate(zip(plan.rungs, outputs, strict=True)):
        argv += ["-map", f"[o{place}]", "-frames:v", str(frames), *video_codec(plan, rung.kbits), "-f", "mp4", output]
    read = [scene.footage] if scene.footage is not None else []
    strip = _Strip(scene.name)
    confinement = Confinement(read=read, write=[folder], limits=_LIMITS, foreign=False)
    await run_tool(argv, confinement, feed=lambda: strip.frames(frames))
    return outputs


class _Strip:
    """The burnt-in line at the foot: name, time code, and a dot that runs across once in two seconds."""

    def __init__(self, name: str) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError as error:
            raise Unavailable("Pillow draws the demo's time code and is not here; install eisbach[laptop]") from error
        font = ImageFont.load_default(22)
        self._base = Image.new("L", (_WIDTH, _STRIP), 24)
        ImageDraw.Draw(self._base).text((12, 8), name, fill=235, font=ImageFont.load_default(15))
        self._glyphs = {}
        self._glyph_width = 15
        for sign in "0123456789:.":
            glyph = Image.new("L", (self._glyph_width, 30), 24)
            ImageDraw.Draw(glyph).text((1, 1), sign, fill=235, font=font)
            self._glyphs[sign] = glyph
        self._dot = Image.new("L", (10, 4), 235)

    async def frames(self, count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            image = self._base.copy()
            seconds, frame = divmod(number, FPS)
            text = f"{seconds // 60:02d}:{seconds % 60:02d}:{frame:02d}"
            for place, sign in enumerate(text):
                image.paste(self._glyphs[sign], (_WIDTH - 140 + place * self._glyph_width, 6))
            image.paste(self._dot, (number % (2 * FPS) * (_WIDTH - 10) // (2 * FPS - 1), _STRIP - 5))
            yield image.tobytes()


async def make_sound(scene: Scene, voice: str, folder: Path, tools: MediaTools) -> Path:
    """Encode the piece's sound as ADTS: ``folder/{scene}-{voice}.aac``, exactly 1125 AAC frames.

    Args:
        scene: what it belongs to; footage keeps its own sound under the chord.
        voice: ``de`` (the chord swells), ``en`` (it plucks each second), ``ad`` (it swells under a ping a segment).
        folder: where to.
        tools: the binaries.

    Raises:
        ToolFailed: try again.
        Corrupt: ffmpeg wrote fewer frames than the piece has.
    """
    low, middle, high = scene.tones
    chord = f"(sin(2*PI*{low}*t)+sin(2*PI*{middle}*t)+sin(2*PI*{high}*t))/3"
    shape = {
        "de": "(0.6+0.4*sin(2*PI*t/4))",
        "en": "exp(-3*mod(t\\,1))",
        "ad": "(0.5+0.3*sin(2*PI*t/4))",
    }[voice]
    expression = f"0.16*{shape}*{chord}"
    if voice == "ad":
        expression += "+0.10*exp(-8*mod(t\\,2))*sin(2*PI*1760*t)"
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-filter_complex_threads", "1"]
    # Computed at a third of the rate, which is plenty for these pitches, and a third of the time.
    tone = f"aevalsrc='{expression}':s=16000:d={PIECE_S},aresample=48000,aformat=channel_layouts=stereo"
    if scene.footage is not None:
        argv += ["-threads", "1", "-f", "mov", "-i", scene.footage]
        own = (
            "[0:a]aresample=48000,pan=stereo|c0=0.5*c0+0.5*c2|c1=0.5*c1+0.5*c2,atrim=end=5.28,asplit=3[x][y][z];"
            f"[y]atempo=0.5[slow];[x][slow][z]concat=n=3:v=0:a=1,apad,atrim=end={PIECE_S}[own];"
        )
        tone = f"{own}{tone},volume=0.35[tone];[own][tone]amix=inputs=2:duration=first:normalize=0"
    graph = f"{tone},afade=t=in:d=0.06,afade=t=out:st={PIECE_S - 0.12}:d=0.09[a]"
    output = folder / f"{scene.id}-{voice}.aac"
    argv += [
        "-filter_complex",
        graph,
        "-map",
        "[a]",
        "-c:a",
        "aac",
        "-aac_coder",
        "fast",
        "-b:a",
        "64k",
        "-flags:a",
        "+bitexact",
    ]
    argv += ["-f", "adts", output]
    read = [scene.footage] if scene.footage is not None else []
    await run_tool(argv, Confinement(read=read, write=[folder], limits=_LIMITS, foreign=False))
    output.write_bytes(_first_frames(output.read_bytes(), _AAC_FRAMES))
    return output


def _first_frames(adts: bytes, count: int) -> bytes:
    """The first ``count`` frames of an ADTS stream (ISO 13818-7 section 6.2: 13 bits of length from bit 30)."""
    at = 0
    for _ in range(count):
        if len(adts) < at + 7 or adts[at] != 0xFF or adts[at + 1] & 0xF0 != 0xF0:
            raise Corrupt(f"expected {count} AAC frames, the stream ends or breaks at byte {at} of {len(adts)}")
        at += (adts[at + 3] & 3) << 11 | adts[at + 4] << 3 | adts[at + 5] >> 5
    return adts[:at]
