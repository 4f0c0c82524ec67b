"""Vectors and versions are written and ordered as they always were; the golden files are read for ever."""

import json
from pathlib import Path

import msgspec
import pytest

from eisbach.kernel.versions import Mark, Version, decode_position, encode_position

GOLDEN = Path(__file__).parents[1] / "golden"
VECTORS = json.loads((GOLDEN / "vector-v1.json").read_text())
VERSIONS = json.loads((GOLDEN / "version-v1.json").read_text())


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["position"])
def test_positions_are_written_and_read_as_they_always_were(case: dict) -> None:
    vector = {origin: Mark(*mark) for origin, mark in case["vector"].items()}

    assert encode_position(vector) == case["position"]
    assert decode_position(case["position"]) == vector


@pytest.mark.parametrize("case", VERSIONS, ids=lambda case: str(case["version"]))
def test_versions_are_written_and_read_as_they_always_were(case: dict) -> None:
    version = Version(*case["version"])

    assert msgspec.msgpack.encode(version).hex() == case["msgpack"]
    assert msgspec.msgpack.decode(bytes.fromhex(case["msgpack"]), type=Version) == version


def test_the_golden_versions_stand_in_merge_order() -> None:
    found = [Version(*case["version"]) for case in VERSIONS]

    assert sorted(found, reverse=True) == found[::-1]
