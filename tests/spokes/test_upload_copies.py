"""Sources are copied to the other region, whole and verified, and go when the packaged files are what is copied."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.hub.events import AssetReady, AssetReceived, AssetRejected
from eisbach.kernel.errors import NotFound, Unavailable
from eisbach.spokes.upload_copies import upload_copies
from eisbach.testing.spoke_bench import SpokeBench, open_spoke_bench

FILM = b"film" * 1000
RECEIVED = AssetReceived(
    asset="wave", title="wave", upload="up-1", source="uploads/up-1", bytes=len(FILM), sha256=sha256(FILM).hexdigest(),
    home="eu-west",
)  # fmt: skip


class OtherRegion:
    """What its peer door answers, one behaviour a call; the last one stays."""

    def __init__(self) -> None:
        self.answers: list[bytes | Exception] = [FILM]
        self.asked: list[tuple[str, str]] = []

    async def fetch_upload(self, region: str, upload: str) -> AsyncIterator[bytes]:
        self.asked.append((region, upload))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        yield FILM[:100]
        if isinstance(answer, Exception):
            raise answer
        yield answer[100:]


@pytest.fixture
def other() -> OtherRegion:
    return OtherRegion()


@pytest.fixture
async def bench(tmp_path: Path, other: OtherRegion) -> AsyncIterator[SpokeBench]:
    async with open_spoke_bench(upload_copies(other, FileBlobs(tmp_path), region="eu-central")) as bench:
        yield bench


async def test_a_source_received_elsewhere_is_brought_here(bench: SpokeBench, tmp_path: Path) -> None:
    await bench.publish(RECEIVED, subject="wave", origin="eu-west")
    await bench.run_to_idle()

    assert (tmp_path / "uploads" / "up-1").read_bytes() == FILM


@pytest.mark.parametrize(
    "first", [Unavailable("cut"), NotFound("not there yet"), b"X" * len(FILM), FILM[:500]], ids=str
)
async def test_what_is_cut_absent_or_altered_is_fetched_again_and_never_kept(
    bench: SpokeBench, other: OtherRegion, tmp_path: Path, first: bytes | Exception
) -> None:
    other.answers = [first, FILM]

    await bench.publish(RECEIVED, subject="wave", origin="eu-west")
    await bench.run_to_idle()

    assert len(other.asked) == 2
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [FILM]


@pytest.mark.parametrize(
    "end",
    [AssetReady(id="wave", duration_ms=1, tracks=[]), AssetRejected(asset="wave", title="wave", reason="text")],
    ids=lambda end: type(end).__name__,
)
async def test_the_copy_goes_when_the_asset_is_ready_or_rejected(
    bench: SpokeBench, tmp_path: Path, end: AssetReady | AssetRejected
) -> None:
    await bench.publish(RECEIVED, subject="wave", origin="eu-west")
    await bench.publish(end, subject="wave", origin="eu-west")
    await bench.run_to_idle()

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_region_that_took_the_work_over_keeps_its_source(bench: SpokeBench, tmp_path: Path) -> None:
    taken_over = AssetReceived(**{name: getattr(RECEIVED, name) for name in RECEIVED.__struct_fields__} | {
        "home": "eu-central"})  # fmt: skip
    await bench.publish(RECEIVED, subject="wave", origin="eu-west")
    await bench.publish(taken_over, subject="wave")
    await bench.publish(AssetReady(id="wave", duration_ms=1, tracks=[]), subject="wave")
    await bench.run_to_idle()

    assert (tmp_path / "uploads" / "up-1").read_bytes() == FILM
