"""The refusal table: real hostile files, and the sentence each is refused with."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.media.probe import probe_source
from eisbach.media.tools import MediaTools

pytestmark = pytest.mark.processes
Maker = Callable[[Path, Path, MediaTools], None]


def written(content: bytes) -> Maker:
    return lambda path, _source, _tools: path.write_bytes(content) and None


def ffmpeg(*options: str) -> Maker:
    def make(path: Path, source: Path, tools: MediaTools) -> None:
        words = [str(source) if word == "SOURCE" else word for word in options]
        subprocess.run([tools.ffmpeg, "-v", "error", "-nostdin", "-y", *words, path], check=True)

    return make


def cut_in_half(path: Path, source: Path, tools: MediaTools) -> None:
    """Index in front, so that only the pictures are missing."""
    ffmpeg("-i", "SOURCE", "-c", "copy", "-movflags", "+faststart", "-f", "mp4")(path, source, tools)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def matroska_cut_in_half(path: Path, source: Path, tools: MediaTools) -> None:
    ffmpeg("-i", "SOURCE", "-c", "copy", "-f", "matroska")(path, source, tools)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def index_cut_off(path: Path, source: Path, _tools: MediaTools) -> None:
    whole = source.read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])


def index_cut_short(path: Path, source: Path, _tools: MediaTools) -> None:
    """ffmpeg alone would take it and lose the sound."""
    path.write_bytes(source.read_bytes()[:-5000])


def encrypted(path: Path, source: Path, tools: MediaTools) -> None:
    argv = [tools.packager, "--quiet", f"in={source},stream=video,output={path}", "--enable_raw_key_encryption"]
    argv += ["--keys", "label=:key_id=abba271e8bcf552bbd2e86a434a9a5d9:key=69eaa802a6763af979e8d1940fb88392"]
    subprocess.run([*argv, "--clear_lead", "0"], check=True)


def encrypted_without_its_label(path: Path, source: Path, tools: MediaTools) -> None:
    """Key system headers renamed, so that ffprobe reports no encryption: the sample entry still says it."""
    encrypted(path, source, tools)
    path.write_bytes(path.read_bytes().replace(b"pssh", b"free"))


def huge_picture(path: Path, source: Path, tools: MediaTools) -> None:
    """An AVI whose header claims 65,000 x 65,000 pixels."""
    ffmpeg("-i", "SOURCE", "-t", "1", "-an", "-c:v", "rawvideo", "-s", "64x64", "-f", "avi")(path, source, tools)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"strf") + 12  # biWidth, biHeight
    whole[at : at + 8] = (65_000).to_bytes(4, "little") * 2
    path.write_bytes(whole)


def claims_ten_hours(path: Path, source: Path, tools: MediaTools) -> None:
    """One picture every ten minutes for ten hours: a thousand bytes that would make a thousand chunks."""
    ffmpeg("-filter_complex", "color=s=32x32:r=1/600:d=36000", "-c:v", "libx264", "-f", "mp4")(path, source, tools)


def fifty_hours(path: Path, source: Path, tools: MediaTools) -> None:
    ffmpeg("-filter_complex", "color=s=32x32:r=1/600:d=180000", "-c:v", "libx264", "-f", "mp4")(path, source, tools)


HOSTILE: dict[str, tuple[Maker, str]] = {
    "nothing": (written(b""), "is empty"),
    "text": (written(b"This is my holiday film.\n" * 100), "is text"),
    "an HLS playlist": (written(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "HLS playlist in disguise"),
    "an HLS playlist behind a BOM": (
        written(b"\xef\xbb\xbf#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/\n"),
        "playlist in disguise",
    ),
    "an HLS playlist behind binary": (
        written(b"\0\0\0\x18GARBAGE\n#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        "not a",
    ),
    "a concat list": (written(b"ffconcat version 1.0\nfile /etc/passwd\n"), "list of other files"),
    "a concat list without its name": (written(b"file '/etc/passwd'\n"), "list of other files"),
    "a DASH manifest": (written(b"<?xml version='1.0'?><MPD/>"), "a DASH manifest"),
    "an SVG": (written(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "XML or HTML"),
    "an SDP": (written(b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n"), "is text"),
    "random bytes": (written(bytes((i * 7919) % 251 for i in range(100_000))), "not a"),
    "a picture": (
        ffmpeg("-i", "SOURCE", "-frames:v", "1", "-pix_fmt", "yuvj420p", "-f", "mjpeg"),
        "not a video of a kind",
    ),
    "sound only": (ffmpeg("-i", "SOURCE", "-vn", "-t", "1", "-f", "mp4"), "no picture to show"),
    "an MP4 without its index": (index_cut_off, "index \\(moov\\) is missing"),
    "an MP4 with half an index": (index_cut_short, "'moov' at byte .* claims"),
    "an MP4 cut in half": (cut_in_half, "'mdat' at byte .* claims"),
    "a Matroska cut in half": (matroska_cut_in_half, "no picture at the end"),
    "an encrypted MP4": (encrypted, "encrypted"),
    "an encrypted MP4 without its label": (encrypted_without_its_label, "encrypted"),
    "a header of 65,000 x 65,000": (huge_picture, "beyond 8192 pixels"),
    "a picture that is too wide": (
        ffmpeg("-filter_complex", "color=s=9000x32:d=1", "-c:v", "libx264", "-preset", "ultrafast", "-f", "mp4"),
        "9000 x 32",
    ),
    "ten hours in a kilobyte": (claims_ten_hours, "which cannot be"),
    "fifty hours": (fifty_hours, "50.0 hours"),
    "a live stream without an end": (
        ffmpeg("-i", "SOURCE", "-t", "1", "-c:v", "copy", "-an", "-f", "matroska", "-live", "1"),
        "does not say how long",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_refused_with_the_reason(
    name: str, source: Path, tools: MediaTools, tmp_path: Path
) -> None:
    make, reason = HOSTILE[name]
    path = tmp_path / "upload.mp4"
    make(path, source, tools)

    with pytest.raises(Invalid, match=reason):
        await probe_source(path, tools)


@pytest.mark.parametrize(
    ("options", "container"),
    [
        (("-c", "copy", "-f", "mp4"), "mov"),
        (("-c", "copy", "-f", "matroska"), "matroska"),
        (("-c", "copy", "-f", "mpegts"), "mpegts"),
        (("-c:v", "mpeg4", "-c:a", "libmp3lame", "-f", "avi"), "avi"),
    ],
)
async def test_what_people_have_is_taken(
    options: tuple[str, ...], container: str, source: Path, tools: MediaTools, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    ffmpeg("-i", "SOURCE", "-map", "0", "-t", "4", *options)(path, source, tools)

    facts = await probe_source(path, tools)

    assert (facts.container, facts.width, facts.height, facts.fps) == (container, 640, 480, 25)
    assert abs(facts.duration_ms - 4000) < 100
    assert len(facts.audio) == 2


async def test_facts_of_the_footage_are_what_it_is_known_for(footage: Path, tools: MediaTools) -> None:
    facts = await probe_source(footage, tools)

    assert (facts.duration_ms, facts.width, facts.height, facts.fps) == (5280, 1280, 720, 25)


async def test_languages_come_as_the_web_names_them(source: Path, tools: MediaTools) -> None:
    facts = await probe_source(source, tools)

    assert [a.language for a in facts.audio] == ["de", "en"]


async def test_a_turned_telephone_film_is_as_high_as_it_is_shown(
    source: Path, tools: MediaTools, tmp_path: Path
) -> None:
    path = tmp_path / "turned.mp4"
    argv = [
        tools.ffmpeg,
        "-v",
        "error",
        "-nostdin",
        "-display_rotation:v",
        "90",
        "-i",
        source,
        "-t",
        "2",
        "-c",
        "copy",
        path,
    ]
    subprocess.run(argv, check=True)

    facts = await probe_source(path, tools)

    assert (facts.width, facts.height) == (480, 640)
