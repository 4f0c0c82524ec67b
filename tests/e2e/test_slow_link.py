"""Regions behind a link of ten kilobytes a second: what one acknowledged becomes readable in the other, by id."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from .platform import Platform, call, running
from .viewer import Viewer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

CENTRAL, WEST = "eu-central", "eu-west"
RATE, WRITES = 10_000, 60


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("slow") / "data"
    with running(data, stage="regions", network="127.0.65", arguments=("--no-demo",)) as started:
        yield started


def links(platform: Platform, rate: int | None = None) -> dict[str, int]:
    """Bytes carried so far, by region that asked; ``rate``: sets what each link carries, 0 without bound."""
    token = (platform.data / "secrets/operator-token").read_text().strip()
    at, headers = platform.url("link"), {"Authorization": f"Bearer {token}"}
    for one, other in ((CENTRAL, WEST), (WEST, CENTRAL)) if rate is not None else ():
        status, _, said = call("PUT", f"{at}/links/{one}/{other}", body={"bytes_per_s": rate}, headers=headers)
        assert status == 200, said
    _, _, found = call("GET", f"{at}/links", headers=headers)
    return {row["from"]: row["bytes"] for row in found["links"]}


def readable(viewers: list[Viewer], edge: str) -> int:
    """How many acknowledged writes are in a region, the oldest of each viewer first."""
    count = 0
    for viewer in viewers:
        for title, position in viewer.acknowledged.items():
            status, _, answer = viewer.ask("GET", f"/v1/me/progress/{title}", edge=edge)
            if status != 200 or answer["pos_s"] != position:
                break
            count += 1
    return count


def test_over_ten_kilobytes_a_second_a_backlog_of_both_regions_drains_at_the_rate_of_the_link(
    platform: Platform, record_property: Any
) -> None:
    edges = {r["name"]: r["edge"] for r in platform.status()["regions"]}
    crowds = {r: [Viewer(edges[r], f"dev-slow-{r}-{n}").sign_in() for n in range(10)] for r in (CENTRAL, WEST)}
    before = links(platform, RATE)
    began = time.monotonic()
    for region, crowd in crowds.items():
        for viewer in crowd:
            for _ in range(WRITES):
                assert viewer.write(edge=edges[region]), viewer.last

    wanted = 10 * WRITES
    for region, other in ((CENTRAL, WEST), (WEST, CENTRAL)):
        counts = [0]

        def moved(counts: list[int] = counts, region: str = region, other: str = other) -> bool:
            counts.append(readable(crowds[region], edges[other]))
            assert counts[-1] >= counts[0]
            time.sleep(1)
            return counts[-1] == wanted

        platform.until(f"all of {region} in {other}", moved, 120)
    took = time.monotonic() - began
    carried = {region: number - before[region] for region, number in links(platform, 0).items()}

    assert {r: [v.missing(edge=edges[o]) for v in crowds[r]] for r, o in ((CENTRAL, WEST), (WEST, CENTRAL))} == {
        region: [{}] * 10 for region in crowds
    }
    assert all(number > 0.3 * RATE * took for number in carried.values()), "it was the link that was waited for"
    record_property("figure", f"{2 * wanted} writes in {took:.0f} s, bytes {carried}")
    print(f"{2 * wanted} writes in {took:.0f} s, bytes {carried}")
