"""The plan is pure: what a source becomes."""

import msgspec
import pytest

from eisbach.domain.catalog import Image
from eisbach.kernel.errors import Invalid
from eisbach.media.images import thumbnail_index
from eisbach.media.plan import PACKAGE, TRANSCODE, JobSpec, plan_asset, plan_jobs
from eisbach.media.probe import AudioFacts, SourceFacts


def facts(
    width: int, height: int, *, fps: int = 25, duration_ms: int = 30_000, audio: list[AudioFacts] | None = None
) -> SourceFacts:
    return SourceFacts(
        container="mov", bytes=1_000_000, duration_ms=duration_ms, width=width, height=height, fps=fps, codec="h264",
        audio=audio or [],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "ladder"),
    [
        ((1280, 720), [("v720", 1280, 720), ("v480", 854, 480), ("v240", 426, 240)]),
        ((3840, 2160), [("v720", 1280, 720), ("v480", 854, 480), ("v240", 426, 240)]),
        ((1920, 800), [("v720", 1728, 720), ("v480", 1152, 480), ("v240", 576, 240)]),
        ((720, 576), [("v480", 600, 480), ("v240", 300, 240)]),
        ((1080, 1920), [("v720", 720, 1280), ("v480", 480, 854), ("v240", 240, 426)]),
        ((320, 180), [("v180", 320, 180)]),
        ((101, 77), [("v76", 100, 76)]),
    ],
)
def test_the_ladder_fits_the_source_and_never_enlarges_it(
    size: tuple[int, int], ladder: list[tuple[str, int, int]]
) -> None:
    rungs = plan_asset(facts(*size), source="uploads/u").rungs

    assert [(r.id, r.width, r.height) for r in rungs] == ladder
    assert all(r.width <= size[0] and r.height <= size[1] for r in rungs)


def test_chunks_cover_every_picture_once_and_are_whole_segments_but_the_last() -> None:
    plan = plan_asset(facts(640, 360, duration_ms=26_480), source="uploads/u")

    assert [plan.chunk(n) for n in range(plan.chunks)] == [(0, 300), (300, 300), (600, 62)]
    assert plan.frames_per_segment == 50


def test_jobs_are_audio_first_then_chunks_then_one_package() -> None:
    audio = [AudioFacts(index=0, language="de", role="main"), AudioFacts(index=1, language="de", role="main")]
    jobs = plan_jobs(plan_asset(facts(640, 360, audio=audio), source="uploads/u"), "film")

    assert [(j.kind, j.part) for j in jobs] == [
        (TRANSCODE, "a-de"), (TRANSCODE, "a-de-2"), (TRANSCODE, "v0000"), (TRANSCODE, "v0001"), (TRANSCODE, "v0002"),
        (PACKAGE, "package"),
    ]  # fmt: skip


def test_a_job_survives_json() -> None:
    job = plan_jobs(plan_asset(facts(640, 360), source="uploads/u"), "film")[0]

    assert msgspec.json.decode(msgspec.json.encode(job), type=JobSpec) == job


def test_an_asset_id_with_a_dot_is_refused_because_no_token_could_name_it() -> None:
    with pytest.raises(Invalid, match="dot"):
        plan_jobs(plan_asset(facts(640, 360), source="uploads/u"), "film.1")


def test_the_thumbnail_index_names_a_region_for_every_moment() -> None:
    image = Image(columns=2, rows=2, tile_width=160, tile_height=90, every_ms=2000)

    assert thumbnail_index(image, 5280).splitlines()[2:] == [
        "00:00:00.000 --> 00:00:02.000", "sprite.jpg#xywh=0,0,160,90", "",
        "00:00:02.000 --> 00:00:04.000", "sprite.jpg#xywh=160,0,160,90", "",
        "00:00:04.000 --> 00:00:05.280", "sprite.jpg#xywh=0,90,160,90",
    ]  # fmt: skip
