"""The judge of what stands around the stores: slot maps at the edges (P8), and regions that may hold nothing (P19).

May not know: how the run was made, or any rule of the code under test but the formats.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping

import msgspec

from eisbach.kernel.slotmap import SlotMap
from eisbach.testing.world.control import AgentNode, ControlNode
from eisbach.testing.world.genesis import GROUP, STRANGER, secrets_of
from eisbach.testing.world.history import History
from eisbach.testing.world.nodes import CellNode

__all__ = ["leaks", "maps"]


class _Signed(msgspec.Struct):
    map: msgspec.Raw
    signature: str


def maps(agents: Mapping[str, AgentNode], controls: Mapping[str, ControlNode]) -> Iterator[str]:
    """P8: every map in force was signed, whole, as it was published, and newer than the one before."""
    for region, agent in agents.items():
        key, published = bytes.fromhex(secrets_of(region).map_key), controls[region].published
        last = 0
        for number, document in enumerate(agent.taken):
            signed = msgspec.json.decode(document, type=_Signed)
            slot_map = msgspec.json.decode(signed.map, type=SlotMap)
            if hmac.new(key, bytes(signed.map), hashlib.sha256).hexdigest() != signed.signature:
                yield f"P8 the edge of {region} took a map that nobody signed, version {slot_map.version}"
            if slot_map.version <= last:
                yield f"P8 the edge of {region} went from map {last} to {slot_map.version}"
            if not slot_map.groups.get(GROUP):
                yield f"P8 the edge of {region} took an empty map, version {slot_map.version}"
            # The first one may come from the disk that the world began with.
            if number and published.get(slot_map.version) != slot_map:
                yield f"P8 the edge of {region} took map {slot_map.version}, which was never published like that"
            last = slot_map.version


def leaks(cells: Mapping[str, CellNode], history: History) -> Iterator[str]:
    """P19: nothing of these viewers is on a disk of the stranger, in whatever file, free pages and logs included."""
    accounts = {intent.account.encode() for intent in history.intents if intent.account}
    for cell in cells.values():
        if cell.region != STRANGER:
            continue
        for node in (cell, cell.hub):
            assert node is not None
            for path in sorted(node.life.volume.folder.iterdir()):
                content = path.read_bytes()
                yield from (
                    f"P19 {node.name} holds account {account.decode()} in {path.name}"
                    for account in sorted(accounts)
                    if account in content
                )
