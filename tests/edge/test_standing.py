"""How a region learns from another whether that serves: its peer door leads to its control, through the real nginx."""

from pathlib import Path

import msgspec
import pytest

from eisbach.bootstrap.control_peers import PeerControls
from eisbach.control.leaving import Standing
from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.settings import PeerRegion

from .maps import CENTRAL, EDGE, HOST, PEER_DOOR, slot_map
from .nginx_host import PROCESS, Answering, ask, nginx, stubs

pytestmark = pytest.mark.processes
SITE = EdgeSite(
    region=CENTRAL, host=HOST, port=EDGE, peer_port=PEER_DOOR, media="/nowhere", control=f"{HOST}:8200", process=PROCESS
)


async def test_the_peer_door_lets_another_region_ask_control_whether_this_one_serves(tmp_path: Path) -> None:
    prefix = tmp_path / "edge"
    prefix.mkdir()
    (prefix / PEER_TOKEN_FILE).write_text(peer_token_map("-peer_token"))
    config = edge_config(SITE, slot_map())
    peer = PeerRegion(region="eu-central", door=f"http://{HOST}:{PEER_DOOR}", edge="", origin="")
    wrong_door = msgspec.structs.replace(peer, region="eu-west")
    async with stubs({"control": SITE.control}) as found, nginx(prefix, config, port=EDGE):
        controls = PeerControls([peer, wrong_door], token="-peer_token")
        found["control"].behave = Answering(body=b'{"region":"eu-central","why_not":"it is out","more":1}')

        assert await controls.standing("eu-central") == Standing(region="eu-central", why_not="it is out")
        assert found["control"].asked == ["GET /region/standing"]
        assert found["control"].heads[0]["authorization"] == "Bearer -peer_token"
        slots = [f"eu/de/main/{n}" for n in range(2000)]
        found["control"].behave = Answering(
            body=msgspec.json.encode(Standing(region="eu-central", why_not="", differing={"eu-west": slots}))
        )
        assert (await controls.standing("eu-central")).differing == {"eu-west": slots}, "it may name every slot"
        found["control"].asked.clear()
        found["control"].behave = Answering(body=b'{"region":"eu-central","why_not":"it is out","more":1}')
        with pytest.raises(Unavailable, match="is answered by region 'eu-central'"):
            await controls.standing("eu-west")
        with pytest.raises(Unavailable, match="403"):
            await PeerControls([peer], token="-PEER_token").standing("eu-central")
        with pytest.raises(Invalid, match="'us-east' has no peer door that this one knows; known are: eu-central"):
            await controls.standing("us-east")
        assert (await ask(EDGE, "/peer/standing", headers={"Authorization": "Bearer -peer_token"})).status == 404
        assert len(found["control"].asked) == 1
        found["control"].behave = Answering(status=500, body=b"{}")
        with pytest.raises(Unavailable, match="500"):
            await controls.standing("eu-central")
        await found["control"].stop()
        with pytest.raises(Unavailable, match="502"):
            await controls.standing("eu-central")
