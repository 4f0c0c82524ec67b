"""Payloads above 64 KiB: the blob first, fetched when it is needed, refused when it is not what was claimed."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.hub.authoring import spoke
from eisbach.hub.claim_check import CLAIM_BYTES_MAX, CLAIMS_KEPT, ClaimChecks
from eisbach.hub.host import SpokeHost
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.limits import EVENT_BYTES_MAX
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.ports.spoke_store import WaitingClaim
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock

TYPE = "tv.test.thing.happened.v1"
LARGE = msgspec.json.encode({"text": "x" * 200_000})
DAY = timedelta(days=1).total_seconds()


def draft(data: bytes) -> EventDraft:
    return EventDraft(TYPE, "s", data)


class Elsewhere:
    """The other region's claims, as its peer door gives them."""

    def __init__(self) -> None:
        self.answer: bytes | Exception = LARGE
        self.only: dict[str, bytes] = {}
        """dataref -> what is answered for it, whatever ``answer`` is."""
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, region: str, key: str) -> AsyncIterator[bytes]:
        self.asked.append((region, key))
        for name, body in self.only.items():
            if key in name:
                yield body
                return
        yield LARGE[:1000]
        if isinstance(self.answer, Exception):
            raise self.answer
        yield self.answer[1000:]


class Region:
    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder, self.clock, self.elsewhere = folder, clock, Elsewhere()
        self.blobs = FileBlobs(folder / "blobs")
        self.claims = ClaimChecks(self.blobs, region="eu-central", clock=clock, elsewhere=self.elsewhere)

    def files(self) -> list[Path]:
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    async def event(self, number: int = 1, *, origin: str = "eu-central", data: bytes = LARGE) -> Event:
        checked = await self.claims.check_in(draft(data))
        return msgspec.structs.replace(
            an_event(number), origin=origin, dataref=checked.dataref, data=msgspec.Raw(checked.data), prev=number - 1
        )


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path, ManualClock())


@pytest.mark.parametrize("size", [0, EVENT_BYTES_MAX])
async def test_what_fits_travels_in_the_event(region: Region, size: int) -> None:
    small = draft(b"x" * size)

    assert await region.claims.check_in(small) is small
    assert region.files() == []


async def test_a_large_payload_is_on_disk_before_its_event_and_comes_back_as_it_was(region: Region) -> None:
    event = await region.event()

    assert len(event.data) < 100
    assert [path.read_bytes() for path in region.files()] == [LARGE]
    assert bytes((await region.claims.redeem(event)).data) == LARGE


async def test_a_payload_over_the_bound_is_refused_and_nothing_is_kept(region: Region) -> None:
    with pytest.raises(Invalid, match=f"at most {CLAIM_BYTES_MAX}"):
        await region.claims.check_in(draft(b"x" * (CLAIM_BYTES_MAX + 1)))

    assert region.files() == []


@pytest.mark.parametrize(
    "dataref",
    [
        "https://example.com/x", "blobs:../../etc/passwd#sha256=" + "a" * 64, "blobs:claims/x", "",
        "blobs:claims/2026-01-01/" + "a" * 64 + "#sha256=" + "b" * 64,
        "blobs:claims/2026-01-01/" + "a" * 64 + "/../../../x#sha256=" + "a" * 64,
    ],
)  # fmt: skip
async def test_a_reference_that_is_not_ours_is_refused(region: Region, dataref: str) -> None:
    event = msgspec.structs.replace(an_event(1), dataref=dataref)

    with pytest.raises(Invalid, match="is no claim check"):
        await region.claims.redeem(event)
    assert region.elsewhere.asked == []


async def test_a_claim_of_another_region_is_brought_here_once(region: Region) -> None:
    event = await region.event(origin="eu-west")
    region.files()[0].unlink()

    for _ in range(3):
        assert bytes((await region.claims.redeem(event)).data) == LARGE
    assert [asked[0] for asked in region.elsewhere.asked] == ["eu-west"]


async def test_a_damaged_copy_is_brought_anew_from_its_origin(region: Region) -> None:
    event = await region.event(origin="eu-west")
    region.files()[0].write_bytes(b"{}")

    assert bytes((await region.claims.redeem(event)).data) == LARGE
    assert [path.read_bytes() for path in region.files()] == [LARGE]


@pytest.mark.parametrize(
    ("answer", "says"), [(NotFound("not there"), "missing here and in eu-west"), (b"y" * 200_011, "altered in eu-west")]
)
async def test_what_the_origin_lost_or_altered_is_refused(region: Region, answer: bytes | Exception, says: str) -> None:
    event = await region.event(origin="eu-west")
    region.files()[0].unlink()
    region.elsewhere.answer = answer

    with pytest.raises(Invalid, match=says):
        await region.claims.redeem(event)
    assert region.files() == []


async def test_an_origin_that_cannot_be_reached_is_asked_again(region: Region) -> None:
    event = await region.event(origin="eu-west")
    region.files()[0].unlink()
    region.elsewhere.answer = Unavailable("cut")

    with pytest.raises(Unavailable):
        await region.claims.redeem(event)


async def test_claims_go_when_nobody_can_ask_for_them_and_stay_while_a_dead_letter_names_them(region: Region) -> None:
    old = await region.event(1)
    named = await region.event(2, data=LARGE + b" ")
    await region.clock.advance((CLAIMS_KEPT.total_seconds()) + DAY)
    young = await region.event(3, data=LARGE + b"  ")

    swept = await region.claims.sweep({named.dataref or ""})

    assert swept == 1
    assert {path.read_bytes() for path in region.files()} == {LARGE + b" ", LARGE + b"  "}
    with pytest.raises(Invalid, match=r"is missing; put the blob .* back and redrive"):
        await region.claims.redeem(old)
    await region.claims.redeem(young)


async def test_what_waits_here_for_a_claim_of_another_region_is_brought_before_that_region_sweeps_it(
    region: Region,
) -> None:
    """A dead letter that was never redeemed names a blob that only its origin has, and the origin does not know it."""
    event = await region.event(1, origin="eu-west")
    region.files()[0].unlink()

    first = await region.claims.bring([WaitingClaim("eu-west", event.dataref or "")])
    again = await region.claims.bring([WaitingClaim("eu-west", event.dataref or "")])
    region.elsewhere.answer = NotFound("swept")

    assert (first, again, len(region.elsewhere.asked)) == (1, 0, 1)
    assert bytes((await region.claims.redeem(event)).data) == LARGE


@pytest.mark.parametrize("trouble", [Unavailable("cut"), NotFound("swept"), LARGE[:-2] + b"zz"])
async def test_what_cannot_be_brought_now_holds_up_nothing_else(region: Region, trouble: bytes | Exception) -> None:
    lost, there = await region.event(1, origin="eu-west"), await region.event(2, origin="eu-west", data=LARGE + b" ")
    for file in region.files():
        file.unlink()
    region.elsewhere.only = {there.dataref or "": LARGE + b" "}
    region.elsewhere.answer = trouble
    mine = WaitingClaim("eu-central", "blobs:claims/2020-01-01/" + "0" * 64 + "#sha256=" + "0" * 64)

    waiting = [WaitingClaim("eu-west", event.dataref or "") for event in (lost, there)]
    brought = await region.claims.bring([mine, WaitingClaim("eu-west", "nonsense"), *waiting])

    assert brought == 1
    assert bytes((await region.claims.redeem(there)).data) == LARGE + b" "


# Through a spoke


def reader(seen: list[bytes], **policy: object) -> SpokeSpec:
    @spoke("reader", on=TYPE, scope="everywhere", **policy)
    async def handler(event: Event, effects: Effects) -> None:
        seen.append(bytes(event.data))

    return handler


async def started(hub, region: Region, spec: SpokeSpec) -> SpokeHost:
    hub.claims = region.claims
    return await hub.start(spec)


async def test_a_handler_gets_the_whole_payload_and_what_is_filtered_out_is_never_fetched(hub, region: Region) -> None:
    seen: list[bytes] = []
    await started(hub, region, reader(seen, where={"market": "de"}))
    wanted = msgspec.structs.replace(await region.event(1), market="de")
    unwanted = msgspec.structs.replace(await region.event(2), market="at")

    await hub.publish(wanted, unwanted)
    await hub.idle()

    assert seen == [LARGE]
    assert region.claims.redeemed == 1


@pytest.mark.parametrize("harm", ["missing", "altered", "cut short"])
async def test_a_missing_or_altered_blob_is_a_dead_letter_with_the_reason_and_redriven_once_it_is_back(
    hub, region: Region, harm: str
) -> None:
    seen: list[bytes] = []
    host = await started(hub, region, reader(seen))
    event = await region.event(1)
    (blob,) = region.files()
    if harm == "missing":
        blob.unlink()
    else:
        blob.write_bytes(LARGE[:-1] if harm == "cut short" else b"z" + LARGE[1:])

    await hub.publish(event)
    await hub.idle()
    (letter,) = await hub.store.dead_letters()
    named = await hub.store.claims()
    blob.write_bytes(LARGE)
    await host.redrive(letter.number)
    await hub.idle(1)

    assert f"claim check claims/2027-01-15/{hashlib.sha256(LARGE).hexdigest()}" in letter.reason
    assert ("is missing" if harm == "missing" else "was altered") in letter.reason
    assert named == {WaitingClaim(event.origin, event.dataref or "")}
    assert seen == [LARGE], "once, and only when it was whole"


async def test_a_blob_store_that_is_away_is_tried_again_and_nothing_is_dead(hub, region: Region) -> None:
    seen: list[bytes] = []
    await started(hub, region, reader(seen))
    event = await region.event(1, origin="eu-west")
    region.files()[0].unlink()
    region.elsewhere.answer = Unavailable("cut")

    await hub.publish(event)
    await hub.idle(5)
    region.elsewhere.answer = LARGE
    await hub.idle(60)

    assert seen == [LARGE]
    assert await hub.store.dead_letters() == []


async def test_a_spoke_without_a_blob_store_sets_the_event_aside(hub, region: Region) -> None:
    seen: list[bytes] = []
    await hub.start(reader(seen))

    await hub.publish(await region.event(1))
    await hub.idle()

    (letter,) = await hub.store.dead_letters()
    assert "there is no blob store here" in letter.reason
    assert seen == []
