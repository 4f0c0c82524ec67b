"""``eisbach run agent``: the agent of a region's edge and origin.

``/readyz`` is 200 once both folders hold a configuration that nginx has tested: whoever starts the two nginx waits for
it. ``GET /map`` is the signed map in force, for the region's cells. ``POST /nudge`` makes it look at once.
Secrets are read once, before the process confines itself: to rotate keys, write ``secrets.json`` and restart the agent;
the running nginx goes on meanwhile and reloads once.
"""

import asyncio
import grp
import os
import pwd
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem, serve, status_routes
from eisbach.edge.agent import MAP_FILE, Agent, AgentKeys
from eisbach.edge.fragments import Process, address
from eisbach.edge.nginx_edge import EdgeSite
from eisbach.edge.nginx_origin import OriginSite
from eisbach.edge.nginx_prefix import NginxPrefix
from eisbach.edge.rules import Peer, Region
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.limits import MIB
from eisbach.settings import AgentProcess, Secrets, read_process

__all__ = ["nginx_process", "run"]

_logger = structlog.get_logger(__name__)
_EVERY_S: Final = 2.0
_FETCH_WAIT: Final = aiohttp.ClientTimeout(total=2)
_MAP_BYTES_MAX: Final = 4 * MIB


def nginx_process() -> Process:
    """How our nginx runs: workers under the account that starts it (nginx would choose ``nobody`` under root)."""
    if os.geteuid() != 0:
        return Process()
    account = pwd.getpwuid(os.geteuid())
    return Process(user=f"{account.pw_name} {grp.getgrgid(account.pw_gid).gr_name}")


def _agent(process: AgentProcess, secrets: Secrets, clock: SystemClock) -> Agent:
    residency = process.residencies.get
    region = Region(
        name=process.region,
        residency=residency(process.region, "none"),
        peers=tuple(
            Peer(region=peer.region, residency=residency(peer.region, "none"), door=address(peer.door))
            for peer in process.peers
        ),
    )
    media = str(Path(process.blobs) / "media")
    edge = EdgeSite(
        region=region,
        host=process.host,
        port=process.edge_port,
        peer_port=process.peer_port,
        media=media,
        origins=(process.front,),
        control=address(process.control),
        process=nginx_process(),
    )
    origin = OriginSite(
        region=process.region, host=process.host, port=process.origin_port, media=media, process=nginx_process()
    )
    folder = Path(process.folder).absolute()

    keys = AgentKeys(
        map_key=bytes.fromhex(secrets.map_key), media_keys=secrets.media_keys, peer_token=secrets.peer_token
    )
    return Agent(
        sites=(edge, origin),
        prefixes=tuple(NginxPrefix(folder / name, nginx=process.nginx) for name in ("edge", "origin")),  # type: ignore[arg-type]  # two of them
        map_file=folder / "edge" / MAP_FILE,
        slot_counts=process.groups,
        keys=lambda: keys,
        clock=clock,
    )


async def run(process: AgentProcess) -> None:
    """Serve until cancelled."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    clock = SystemClock()
    agent = _agent(process, secrets, clock)
    tokens = (secrets.service_token, secrets.operator_token)
    # `nginx -t`, our child, is held to the same folders.
    confinement = confine(read=[*python_paths(), Path(process.nginx)], write=[Path(process.folder)])
    if not confinement.confined:
        _logger.warning("not_confined", process="agent", detail=confinement.detail)

    def status() -> dict[str, Any]:
        return {**agent.status(), "confinement": confinement.detail}

    async def slot_map(_: Request) -> Response:
        if agent.document is None:
            return problem(503, "unavailable", "no slot map is in force yet; ask again")
        return Response(agent.document, media_type="application/json")

    async with aiohttp.ClientSession(timeout=_FETCH_WAIT) as session:

        async def fetch() -> bytes:
            url = f"{process.control}/map"
            try:
                async with session.get(url, headers={"Authorization": f"Bearer {secrets.service_token}"}) as answer:
                    if answer.status != 200:
                        raise Unavailable(f"slot map from {url}: status {answer.status}; the one in force stays")
                    if (answer.content_length or 0) > _MAP_BYTES_MAX:
                        raise Unavailable(f"slot map from {url} is larger than 4 MiB; the one in force stays")
                    return await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(f"slot map from {url}: {error!r}; the one in force stays") from error

        async def nudge(request: Request) -> Response:
            """Carries no data: the agent looks for itself."""
            if not authorised(request, *tokens):
                return problem(401, "token_missing", "a nudge needs the region's service token")
            await agent.activate(fetch)
            return Response(msgspec.json.encode(status()), media_type="application/json")

        async def for_ever() -> None:
            while True:
                await agent.activate(fetch)
                await clock.sleep(_EVERY_S)

        app = Starlette(
            routes=[
                *status_routes(status, missing=lambda: agent.missing, tokens=tokens),
                Route("/map", slot_map),
                Route("/nudge", nudge, methods=["POST"]),
            ]
        )
        await agent.load()
        # Together: if one of them ends, so does the process, and the supervisor starts it anew.
        async with asyncio.TaskGroup() as both:
            both.create_task(for_ever())
            both.create_task(serve(app, host=process.host, port=process.port))
