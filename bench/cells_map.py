"""The slot map of a region with 10,000 cells: its bytes as they are distributed, and what a routing decision costs.

Limit: none known. Decided by ``edge.rules.decide``, the pure function that nginx is generated from.
"""

import random
import time
import zlib

from bench.figures import Row

from eisbach.edge.rules import Call, Region, decide
from eisbach.kernel.slotmap import CellEntry, SlotMap, decode_signed, encode_signed

CELLS, GROUPS, SLOTS, DECISIONS = 10_000, 10, 1024, 20_000
KEY = b"\x01" * 32


def slot_map() -> SlotMap:
    """Ten groups of 1,024 slots, a cell a slot until the cells run out; preferences alternate, as they do."""
    names = [f"c{n}" for n in range(CELLS)]
    cells = {n: CellEntry(address=f"10.{i // 65536}.{i // 256 % 256}.{i % 256}:8101") for i, n in enumerate(names)}
    groups = {f"eu/{chr(97 + g)}e/main": [names[(g * SLOTS + s) % CELLS] for s in range(SLOTS)] for g in range(GROUPS)}
    preferred = {group: [("eu-central", "eu-west")[s % 2] for s in range(SLOTS)] for group in groups}
    return SlotMap(region="eu-central", version=1, issued_ms=0, cells=cells, groups=groups, preferred=preferred)


def run() -> list[Row]:
    document = slot_map()
    raw = encode_signed(document, KEY)
    began = time.process_time()
    assert decode_signed(raw, KEY) == document
    decode_ms = (time.process_time() - began) * 1000
    region, chance = Region(name="eu-central", residency="eu"), random.Random(1)
    groups = list(document.groups)
    calls = [
        Call(method="PUT", target="/v1/me/progress/t-1", slot=f"{chance.choice(groups)}/{chance.randrange(SLOTS)}")
        for _ in range(DECISIONS)
    ]
    began = time.process_time()
    for call in calls:
        decide(call, region=region, slot_map=document)
    us = (time.process_time() - began) / DECISIONS * 1e6
    plain = len(zlib.decompress(raw))
    return [
        Row(figure=f"slot map of {CELLS:,} cells, {GROUPS * SLOTS:,} slots", measured=len(raw) / 1000, unit="kB",
            goal="<= 250 kB", met=len(raw) <= 250_000,
            note=f"{plain / 1000:.0f} kB before packing; signature checked and decoded in {decode_ms:.0f} ms"),
        Row(figure="routing decision in it", measured=us, unit="us CPU", goal="<= 10 us", met=us <= 10),
    ]  # fmt: skip
