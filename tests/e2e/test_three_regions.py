"""``--regions 3``: us-east serves its own market, and no byte of a viewer of the European Union lies there."""

from collections.abc import Iterator

import pytest

from .platform import Platform, call, running
from .viewer import Viewer

pytestmark = pytest.mark.processes

CENTRAL, WEST, EAST = "eu-central", "eu-west", "us-east"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("three") / "data"
    with running(data, stage="regions", network="127.0.59", arguments=("--regions", "3", "--no-demo")) as started:
        yield started


def edge(platform: Platform, region: str) -> str:
    return next(str(r["edge"]) for r in platform.status()["regions"] if r["name"] == region)


def files_with(platform: Platform, region: str, *words: bytes) -> list[str]:
    """Files of a region that hold one of the words anywhere, logs and write-ahead logs included."""
    folder = platform.data / "regions" / region
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in words)
    )


def test_what_a_viewer_of_one_residency_writes_lies_in_its_own_regions_only(platform: Platform) -> None:
    german = Viewer(edge(platform, CENTRAL), "dev-three-german").sign_in()
    american = Viewer(edge(platform, EAST), "dev-three-american", market="us").sign_in()
    assert german.write(), german.last
    assert american.write(), american.last
    (german_title,), (american_title,) = german.acknowledged, american.acknowledged

    west = edge(platform, WEST)
    platform.until("the german's write at the twin", lambda: german.missing(edge=west) == {}, 30)

    assert american.slot.startswith("us/us/main/")
    assert {e["region"] for e in american.endpoints} == {EAST}
    assert {e["region"] for e in german.endpoints} == {CENTRAL, WEST}
    assert files_with(platform, CENTRAL, german_title.encode()), "the search itself finds what is there"
    assert files_with(platform, EAST, american_title.encode()), "the search itself finds what is there"
    assert files_with(platform, EAST, german_title.encode(), german.device.encode()) == []
    assert files_with(platform, CENTRAL, american_title.encode(), american.device.encode()) == []
    assert files_with(platform, WEST, american_title.encode(), american.device.encode()) == []


def test_a_region_refuses_a_market_whose_data_may_not_lie_there(platform: Platform) -> None:
    sign_in = {"device_id": "dev-three-stranger", "plat": "web", "mkt": "de"}

    status, _, problem = call("POST", f"{edge(platform, EAST)}/v1/auth/anonymous", body=sign_in)

    assert 400 <= status < 500
    assert problem["detail"]
    assert files_with(platform, EAST, b"dev-three-stranger") == []


@pytest.mark.parametrize(("market", "allowed"), [("us", {EAST}), ("at", {CENTRAL, WEST}), ("de", {CENTRAL, WEST})])
def test_the_front_brings_each_viewer_to_a_region_that_may_have_the_data(
    platform: Platform, market: str, allowed: set[str]
) -> None:
    front = platform.front
    device = {"device_id": f"dev-three-front-{market}", "plat": "web", "mkt": market}
    status, _, signed_in = call("POST", f"{front}/v1/auth/anonymous", body=device, headers={"Eisbach-Place": market})
    assert status == 200, signed_in
    viewer = Viewer(front, f"three-front-{market}", token=signed_in["access"], slot=signed_in["slot"])

    # From here on the slot leads, wherever the viewer travels to.
    for place in ("us", "de"):
        status, headers, _ = viewer.ask("GET", "/v1/me/rails", Eisbach_Place=place)
        assert (status, headers["eisbach-region"] in allowed) == (200, True), (place, headers)
    assert viewer.write(), viewer.last


def test_a_sign_in_that_reached_a_region_which_may_not_have_the_data_names_the_one_that_may(platform: Platform) -> None:
    device = {"device_id": "dev-three-travels", "plat": "web", "mkt": "us"}

    status, headers, _ = call("POST", f"{edge(platform, CENTRAL)}/v1/auth/anonymous", body=device)

    assert status == 421
    assert headers["eisbach-owner"].startswith(EAST)
    assert files_with(platform, CENTRAL, b"dev-three-travels") == []


def test_a_third_region_that_is_down_is_not_noticed_in_the_other_two(platform: Platform) -> None:
    viewer = Viewer(platform.front, "dev-three-down").sign_in()

    platform.fault("down", f"region/{EAST}")

    assert all(viewer.write() for _ in range(10)), viewer.last
    platform.heal()
    assert viewer.missing() == {}
