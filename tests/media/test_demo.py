"""The demo content: what it consists of, that it is the same everywhere, and that a killed run goes on."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from eisbach.bootstrap.tools import Tools
from eisbach.domain.channels import check_loop
from eisbach.media.demo import _PLAN, DEMO_CHANNEL, DemoContent, make_demo
from eisbach.media.hls import shared_tracks
from eisbach.media.jobs import Workspace
from eisbach.media.scenes import GENERATED, bunny_scene, draw_picture
from eisbach.media.tools import MediaTools

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def made(
    tools: MediaTools, footage: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DemoContent, list[int]]:
    blobs = tmp_path_factory.mktemp("demo")
    steps: list[int] = []
    content = asyncio.run(make_demo(Workspace(blobs), tools, footage, lambda done, _total, _what: steps.append(done)))
    return blobs, content, steps


def test_there_are_titles_of_ten_minutes_and_a_channel_that_shows_them(
    made: tuple[Path, DemoContent, list[int]],
) -> None:
    _, content, steps = made

    assert len(content.titles) >= 4
    assert {a.duration_ms for a in content.assets} == {600_000}
    assert (
        [t.asset for t in content.titles] == [a.id for a in content.assets] == [p.asset for p in content.channel.loop]
    )
    assert content.channel.id == DEMO_CHANNEL
    check_loop(content.channel)
    assert steps == list(range(1, 2 * len(content.titles) + 1))


def test_there_is_something_to_choose(made: tuple[Path, DemoContent, list[int]]) -> None:
    _, content, _ = made
    shared = [t.id for t in shared_tracks("demo", content.assets)]

    assert shared == ["v360", "v240", "a-de", "a-en"]
    assert {t.language for a in content.assets for t in a.text} == {"de", "en"}
    assert any(t.role == "description" for a in content.assets for t in a.tracks)


def test_big_buck_bunny_is_credited_wherever_it_is_seen(made: tuple[Path, DemoContent, list[int]]) -> None:
    _, content, _ = made

    assert all("Blender Foundation" in t.credit and "CC BY 3.0" in t.credit for t in content.titles)


def test_every_segment_of_picture_and_sound_lies_on_the_grid(made: tuple[Path, DemoContent, list[int]]) -> None:
    _, content, _ = made
    for asset in content.assets:
        for track in asset.tracks:
            assert sum(n for _, n in track.segments) == 300
            assert sum(d * n for d, n in track.segments) == 600 * track.timescale


def test_the_picture_decodes_through_every_seam_without_a_complaint(
    made: tuple[Path, DemoContent, list[int]], all_tools: Tools
) -> None:
    """Pieces with different parameter sets once played until the first seam and no further."""
    blobs, content, _ = made
    folder = blobs / "media" / "vod" / content.assets[-1].id / "v240"
    joined = b"".join(
        [(folder / "init.mp4").read_bytes(), *((folder / f"{n}.m4s").read_bytes() for n in range(1, 301))]
    )
    argv = [all_tools.ffmpeg, "-v", "warning", "-skip_frame", "nokey", "-i", "-", "-f", "framehash", "-"]

    done = subprocess.run(argv, input=joined, capture_output=True, check=True)

    rows = [row for row in done.stdout.decode().splitlines() if not row.startswith("#")]
    assert (len(rows), done.stderr) == (300, b"")


async def test_a_second_start_makes_nothing_and_answers_the_same(
    made: tuple[Path, DemoContent, list[int]], tools: MediaTools, footage: Path
) -> None:
    blobs, content, _ = made
    steps: list[int] = []

    again = await make_demo(Workspace(blobs), tools, footage, lambda done, _total, _what: steps.append(done))

    assert (again, steps) == (content, [])


async def test_a_scene_is_the_same_bytes_every_time(tools: MediaTools, footage: Path, tmp_path: Path) -> None:
    for scene in (bunny_scene(footage), GENERATED[1]):
        drawn = []
        for name in ("one", "two"):
            folder = tmp_path / f"{scene.id}-{name}"
            folder.mkdir()
            drawn.append([path.read_bytes() for path in await draw_picture(scene, _PLAN, folder, tools)])

        assert drawn[0] == drawn[1]
