"""Whatever is sent to edge, origin or front: the refusal is a problem, never a page of nginx's own."""

import json

import pytest

from .malformed import MALFORMED, send_raw
from .maps import EDGE, HOST, ORIGIN, PEER_DOOR
from .test_edge import Rig as EdgeRig
from .test_edge import rig as edge_rig
from .test_front import FRONT
from .test_front import Rig as FrontRig
from .test_front import rig as front_rig
from .test_origin import Rig as OriginRig
from .test_origin import rig as origin_rig

__all__ = ["edge_rig", "front_rig", "origin_rig"]

pytestmark = pytest.mark.processes
IN_A_CALL = {"bad chunk"}
"""Found by nginx while it passes a call on, where its own 400 cannot be told from a cell's, which must pass."""


async def refused_in_other_words(port: int, *, but: set[str] = IN_A_CALL) -> dict[str, tuple[int, str]]:
    """What was refused, but not by a problem of that status; status 0: closed without a word."""
    found: dict[str, tuple[int, str]] = {}
    for what, raw in MALFORMED.items():
        got = await send_raw(HOST, port, raw)
        problem = got.kind.startswith("application/problem+json") and json.loads(got.body)["status"] == got.status
        if what not in but and not problem and (got.status == 0 or got.status >= 400):
            found[what] = (got.status, got.kind)
    return found


async def test_the_edge_refuses_what_it_cannot_read_with_a_problem(edge_rig: EdgeRig) -> None:
    assert await refused_in_other_words(EDGE) == {}
    assert await refused_in_other_words(PEER_DOOR) == {}


async def test_an_origin_refuses_what_it_cannot_read_with_a_problem(origin_rig: OriginRig) -> None:
    assert await refused_in_other_words(ORIGIN) == {}


async def test_the_front_refuses_what_it_cannot_read_with_a_problem(front_rig: FrontRig) -> None:
    but = IN_A_CALL | {"bad chunk to a page"}  # a call as any other to the front
    assert await refused_in_other_words(FRONT, but=but) == {}
