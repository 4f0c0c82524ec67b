"""What runs where: every stage's processes have addresses of their own and every slot an owner."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from eisbach.bootstrap.kinds import KINDS
from eisbach.bootstrap.tools import Tools
from eisbach.deploy.laptop.addresses import REGIONS, RESIDENCIES
from eisbach.deploy.laptop.documents import Documents
from eisbach.deploy.laptop.topology import STAGES, Topology, build
from eisbach.kernel.errors import Invalid
from eisbach.settings import Settings

TOOL = Path("/bin/true")


def documents(regions: int) -> Documents:
    tools = Tools(ffmpeg=TOOL, ffprobe=TOOL, packager=TOOL, nginx=TOOL, nats_server=TOOL)
    return Documents(
        settings=Settings(network="127.0.25", workers=2), root=Path("/data"), regions=REGIONS[:regions], tools=tools,
        operator_token="t",
    )  # fmt: skip


def stage(name: str, regions: int) -> Topology:
    return build(name, documents(regions), demo=True)


EVERY = pytest.mark.parametrize(("name", "regions"), [*((s, 1) for s in STAGES[:3]), ("regions", 2), ("regions", 3)])


@EVERY
def test_no_two_processes_want_the_same_address_and_all_lie_below_the_ephemeral_range(name: str, regions: int) -> None:
    listens = [address for spec in stage(name, regions).processes for address in spec.listens]

    assert [address for address, count in Counter(listens).items() if count > 1] == []
    assert [address for address in listens if int(address.rpartition(":")[2]) >= 32768] == []


@EVERY
def test_every_dependency_is_there_and_comes_first(name: str, regions: int) -> None:
    seen: set[str] = set()
    for spec in stage(name, regions).processes:
        assert set(spec.depends) <= seen, spec.target
        seen.add(spec.target)


@EVERY
def test_every_process_has_a_way_to_run_and_a_way_to_be_ready(name: str, regions: int) -> None:
    for spec in stage(name, regions).processes:
        assert bool(spec.run) != bool(spec.argv), spec.target
        assert spec.ready, spec.target
        if spec.run:
            assert isinstance(spec.document, KINDS[spec.run].document)


def test_every_hub_has_its_configuration_written_before_each_start() -> None:
    hubs = [spec for spec in stage("regions", 2).processes if spec.kind == "hub"]

    assert [spec.argv[-1] for spec in hubs] == [path for spec in hubs for path, _ in spec.files]
    assert all("sync_interval: always" in content for spec in hubs for _, content in spec.files)


@pytest.mark.parametrize("region", REGIONS)
def test_every_slot_of_a_regions_groups_has_exactly_one_owner_there(region: str) -> None:
    one = documents(3)
    owned = [(g, n) for groups in one.layout(region).values() for g, numbers in groups.items() for n in numbers]
    wanted = [(g, n) for g, count in one.region_groups(region).items() for n in range(count)]

    assert sorted(wanted) == sorted(owned)


def test_twins_have_the_same_cells_and_prefer_each_region_for_half_of_the_slots() -> None:
    one = documents(2)

    assert one.layout("eu-central") == one.layout("eu-west")
    assert Counter(one.preferred()["eu/de/main"]) == {"eu-central": 32, "eu-west": 32}
    first_cell = one.layout("eu-central")["c1"]["eu/de/main"]
    assert Counter(one.preferred()["eu/de/main"][n] for n in first_cell)["eu-west"] == 16


def test_a_group_is_preferred_and_owned_only_where_its_residency_is() -> None:
    one = documents(3)
    for group, regions in one.preferred().items():
        residency = group.partition("/")[0]
        assert all(residency in ("any", RESIDENCIES[r]) for r in regions), group
    assert "eu/de/main" not in one.region_groups("us-east")


def test_links_lead_from_every_region_to_every_other_ones_peer_door() -> None:
    one = documents(3)

    links = one.link().links
    doors = {peer.door.removeprefix("http://") for region in one.regions for peer in one.peers(region)}

    assert len(links) == 6
    assert doors == {listen for _, _, listen, _ in links}
    assert all(target.endswith(":8082") for _, _, _, target in links)


def test_stage_single_is_one_process() -> None:
    assert stage("single", 1).targets() == ["single"]


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(Invalid, match="stage 'two' is not one of single, hub, cells, regions"):
        build("two", documents(1), demo=False)


def test_a_cell_is_told_that_another_region_has_begun_and_nothing_of_its_own(tmp_path: Path) -> None:
    documents_ = replace(documents(2), root=tmp_path)
    store = tmp_path / "regions" / "eu-west" / "cells" / "c1" / "store.db"
    store.parent.mkdir(parents=True)
    store.touch()
    at_first = documents_.cell("eu-central", "c1").others_began
    store.write_bytes(b"SQLite")

    assert not at_first
    assert documents_.cell("eu-central", "c1").others_began
    assert not documents_.cell("eu-west", "c1").others_began
