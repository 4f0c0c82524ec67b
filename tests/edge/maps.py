"""Slot maps and regions for tests, on this folder's own network."""

from eisbach.edge.rules import Peer, Region
from eisbach.kernel.slotmap import CellEntry, SlotMap

HOST = "127.0.24.1"
EDGE, PEER_DOOR, ORIGIN = 8080, 8082, 8081
CELLS = {"studio": f"{HOST}:8100", "c1": f"{HOST}:8101", "c2": f"{HOST}:8102", "c3": f"{HOST}:8103"}
DOOR = f"{HOST}:8083"
FAR_DOOR = f"{HOST}:8084"
ALONE = Region(name="eu-central", residency="eu")
CENTRAL = Region(
    name="eu-central",
    residency="eu",
    peers=(Peer(region="us-east", residency="us", door=FAR_DOOR), Peer(region="eu-west", residency="eu", door=DOOR)),
)


def slot_map(version: int = 1, **changes: object) -> SlotMap:
    """c1 and c2 have half of eu/de/main each, c3 has eu/at/main, four slots a group."""
    fields: dict[str, object] = {
        "region": "eu-central",
        "version": version,
        "issued_ms": 0,
        "cells": {name: CellEntry(address=at) for name, at in CELLS.items()},
        "groups": {
            "any/all/studio": ["studio"] * 4,
            "eu/at/main": ["c3"] * 4,
            "eu/de/main": ["c1", "c1", "c2", "c2"],
        },
        "preferred": {g: ["eu-central"] * 4 for g in ("any/all/studio", "eu/at/main", "eu/de/main")},
    }
    return SlotMap(**{**fields, **changes})  # type: ignore[arg-type]
