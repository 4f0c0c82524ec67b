"""A small stand-in for the platform, for developing the pages and testing them without it: two regions, a single node, a front.

    .venv/bin/python web/dev/dev_platform.py [--network 127.0.26] [--static src/eisbach/web/static]

It speaks the contracts of docs/internals.md over things kept in memory; manifests and media paths are the platform's own
(eisbach.media). It proves nothing about the platform: tests/e2e does.
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from dev_catalogue import MEDIA, TITLES, DevCatalogue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eisbach.domain.channels import now_and_next
from eisbach.kernel.tokens import mint_media_token
from eisbach.media.hls import Pathway
from eisbach.media.manifests import Manifests
from eisbach.media.serve import media_routes

KEY = b"development"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, eisbach-slot, eisbach-position, idempotency-key",
    "access-control-expose-headers": "eisbach-cell, eisbach-region, eisbach-position, eisbach-owner, retry-after",
    "access-control-max-age": "600",
}


class Fault:
    """ASGI: what a broken region does with a request."""

    def __init__(self, app: ASGIApp, side: "Side", port: int) -> None:
        self.app, self.side, self.port = app, side, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        kind = self.side.fault
        if kind == "hang":
            await self.side.healed.wait()
        if kind == "slow":
            await asyncio.sleep(0.6)
        if kind == "error":
            return await Response(status_code=503)(scope, receive, send)
        if kind == "truncate":
            return await self.app(scope, receive, self._half(send))
        self.side.log.append(f"{self.port} {scope['method']} {scope['path']}")
        await self.app(scope, receive, send)

    def _half(self, send: Send) -> Send:
        async def cut(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                body = message["body"]
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                raise ConnectionResetError("cut, as the fault says")
            await send(message)

        return cut


class Side:
    """A region, or the single node: its servers, what viewers wrote there, its fault."""

    def __init__(self, name: str, host: str, ports: tuple[int, int]) -> None:
        self.name, self.host, self.api, self.media = name, host, f"http://{host}:{ports[0]}", f"http://{host}:{ports[1]}"
        self.ports, self.fault, self.healed, self.since = ports, "", asyncio.Event(), 0
        self.apps: dict[int, ASGIApp] = {}
        self.servers: list[uvicorn.Server] = []
        self.log: list[str] = []

    async def up(self) -> None:
        for port, app in self.apps.items():
            config = uvicorn.Config(Fault(app, self, port), host=self.host, port=port, log_level="error", lifespan="off", timeout_graceful_shutdown=0)
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
            self.servers.append(server)
            task = asyncio.create_task(server._serve())
            while not server.started and not task.done():
                await asyncio.sleep(0.01)

    async def down(self) -> None:
        for server in self.servers:
            server.should_exit = server.force_exit = True
            for connection in list(server.server_state.connections):
                connection.transport.abort()  # type: ignore[union-attr]
            for listener in server.servers:
                listener.close()
        self.servers = []

    async def break_(self, kind: str) -> None:
        self.fault, self.since = kind, int(time.time() * 1000)
        self.healed.clear()
        if kind in ("down", "kill"):
            await self.down()

    async def heal(self) -> None:
        was, self.fault = self.fault, ""
        self.healed.set()
        if was in ("down", "kill"):
            await self.up()


class Viewers:
    """What viewers wrote; shared by the regions, as if they had replicated."""

    def __init__(self) -> None:
        self.progress: dict[str, dict[str, Any]] = {}
        self.watchlist: dict[str, int] = {}
        self.seq = 0


class Api:
    def __init__(self, side: Side, endpoints: list[Side], viewers: Viewers, catalogue: DevCatalogue) -> None:
        self.side, self.endpoints, self.viewers, self.catalogue = side, endpoints, viewers, catalogue

    def answer(self, body: Any, status: int = 200) -> Response:
        headers = {
            "Eisbach-Region": self.side.name, "Eisbach-Cell": f"{self.side.name}/c1",
            "Eisbach-Position": json.dumps({self.side.name: [1, self.viewers.seq]}),
        }  # fmt: skip
        return Response(status_code=204, headers=headers) if status == 204 else JSONResponse(body, status, headers)

    async def sign_in(self, request: Request) -> Response:
        endpoints = [{"region": s.name, "api": s.api, "media": s.media} for s in self.endpoints]
        return self.answer({"access": "dev.dev.dev", "refresh": "dev", "expires_in": 900, "account": "a-dev", "profile": "p1", "market": "de", "tier": "free", "age": 12, "slot": "eu/de/main/1", "endpoints": endpoints})

    async def home(self, request: Request) -> Response:
        return self.answer({"version": 1, "rails": self.catalogue.rails()})

    async def title(self, request: Request) -> Response:
        name = request.path_params["id"]
        if name not in TITLES:
            return self.answer({"status": 404, "code": "not_found", "detail": f"no title {name!r}"}, 404)
        return self.answer({**self.catalogue.card(name), "tracks": {"audio": [{"lang": "en"}, {"lang": "de"}], "text": [{"lang": "en"}, {"lang": "de"}]}})

    async def search(self, request: Request) -> Response:
        """Beginnings of words of the names are enough here; the real one is tested in tests/cell/test_search.py."""
        wanted = request.query_params.get("q", "").lower().split()
        names = {name: " ".join(said.values()).lower().split() for name, (_, said, _) in TITLES.items()}
        found = [name for name, words in names.items() if all(any(w.startswith(q) for w in words) for q in wanted)]
        return self.answer({"hits": [self.catalogue.card(name) for name in found], "took_ms": 1, "degraded": False})

    async def channels(self, request: Request) -> Response:
        return self.answer([{"id": c.id, "number": c.number, "names": c.names, "asset": c.loop[0].asset} for c in self.catalogue.channels.values()])

    async def now(self, request: Request) -> Response:
        found = []
        for channel in self.catalogue.channels.values():
            slots = [
                {"title": a.title, "names": TITLES[a.title][1], "asset": a.asset, "image": f"/img/{a.asset}/poster.jpg", "from_ms": a.start_ms, "to_ms": a.end_ms}
                for a in now_and_next(channel, int(time.time() * 1000))
            ]
            found.append({"channel": channel.id, "now": slots[0], "next": slots[1]})
        return self.answer(found)

    async def rails(self, request: Request) -> Response:
        known = [p for p in self.viewers.progress.values() if p["title"] in TITLES and p["pos_s"] > 4]
        resume = [{**p, "card": self.catalogue.card(p["title"])} for p in sorted(known, key=lambda p: -p["updated_ms"])]
        watchlist = [{"title": t, "added_ms": at, "card": self.catalogue.card(t)} for t, at in sorted(self.viewers.watchlist.items(), key=lambda e: -e[1])]
        return self.answer({"resume": resume, "watchlist": watchlist})

    async def progress(self, request: Request) -> Response:
        title = request.path_params["id"]
        if request.method == "GET":
            found = self.viewers.progress.get(title)
            return self.answer(found) if found else self.answer({"status": 404, "code": "not_found"}, 404)
        self.viewers.seq += 1
        self.viewers.progress[title] = {"title": title, **await request.json(), "updated_ms": int(time.time() * 1000)}
        return self.answer(None, 204)

    async def watchlist(self, request: Request) -> Response:
        self.viewers.seq += 1
        if request.method == "PUT":
            self.viewers.watchlist[request.path_params["id"]] = int(time.time() * 1000)
        else:
            self.viewers.watchlist.pop(request.path_params["id"], None)
        return self.answer(None, 204)

    async def start(self, request: Request) -> Response:
        asked = (await request.json())["asset"]
        live = asked["type"] == "live"
        if asked["id"] not in (self.catalogue.channels if live else TITLES):
            return self.answer({"status": 404, "code": "not_found", "detail": f"no {asked['type']} {asked['id']!r}"}, 404)
        scope = asked["id"] if live else TITLES[asked["id"]][0]
        if not live and scope not in self.catalogue.assets:
            return self.answer({"status": 403, "code": "rights_window", "detail": "this title has not begun yet"}, 403)
        token = mint_media_token(KEY, kid="k1", expiry=int(time.time()) + 21600, scope=scope)
        sides = [self.side, *(s for s in self.endpoints if s is not self.side)]
        kind = "ch" if live else "vod"
        endpoints = [
            {"region": s.name, "api": s.api, "media": s.media, "hls": f"{s.media}/t/{token}/{kind}/{scope}/master.m3u8", "dash": f"{s.media}/t/{token}/{kind}/{scope}/manifest.mpd"}
            for s in sides
        ]
        position = self.viewers.progress.get(asked["id"], {}).get("pos_s", 0)
        return self.answer(
            {
                "sid": f"s-{time.time_ns()}", "session": "signed", "lease": {"ttl_s": 90, "heartbeat_s": 30, "jitter": 0.2}, "endpoints": endpoints, "manifests": {"hls": endpoints[0]["hls"], "dash": endpoints[0]["dash"]},
                "start_pos_s": 0 if position > 36 else position, "degraded": [],
                **({} if live else {"thumbnails": {"vtt": f"/img/{scope}/thumbs.vtt", "sprite": f"/img/{scope}/sprite.jpg"}}),
            }, 201,
        )  # fmt: skip

    async def heartbeat(self, request: Request) -> Response:
        return self.answer({"action": "continue", "heartbeat_s": 30})

    async def renew(self, request: Request) -> Response:
        return self.answer({"status": 403, "code": "session_signature"}, 403)

    async def stop(self, request: Request) -> Response:
        return self.answer(None, 204)

    async def healthz(self, request: Request) -> Response:
        return self.answer({})

    async def steer(self, request: Request) -> Response:
        order = [self.side.name, *(s.name for s in self.endpoints if s is not self.side)]
        key = "SERVICE-LOCATION-PRIORITY" if "mpd" in str(request.url) else "PATHWAY-PRIORITY"
        return self.answer({"VERSION": 1, "TTL": 300, key: order})

    def routes(self) -> list[Route]:
        return [
            Route("/v1/auth/anonymous", self.sign_in, methods=["POST"]),
            Route("/v1/auth/token", self.sign_in, methods=["POST"]),
            Route("/v1/{m}/{t}/{p}/{a}/home", self.home),
            Route("/v1/{m}/titles/{id}", self.title),
            Route("/v1/{m}/search", self.search),
            Route("/v1/{m}/channels", self.channels),
            Route("/v1/{m}/epg/now", self.now),
            Route("/v1/me/rails", self.rails),
            Route("/v1/me/progress/{id}", self.progress, methods=["GET", "PUT"]),
            Route("/v1/me/watchlist/{id}", self.watchlist, methods=["PUT", "DELETE"]),
            Route("/v1/playback/sessions", self.start, methods=["POST"]),
            Route("/v1/playback/sessions/{sid}/heartbeat", self.heartbeat, methods=["POST"]),
            Route("/v1/playback/sessions/{sid}/token", self.renew, methods=["POST"]),
            Route("/v1/playback/sessions/{sid}", self.stop, methods=["DELETE"]),
            Route("/steer", self.steer),
            Route("/healthz", self.healthz),
        ]


def with_cors(app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(k.encode(), v.encode()) for k, v in CORS.items()]
        if scope["method"] == "OPTIONS" and not scope["path"].startswith(("/t/", "/img/")):
            return await Response(status_code=204, headers=CORS)(scope, receive, send)

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start" and not any(k == b"access-control-allow-origin" for k, _ in message["headers"]):
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await app(scope, receive, add)

    return answer


class Supervisor:
    """The console's API over two regions that are not there."""

    def __init__(self, regions: list[Side], single: Side, front: str) -> None:
        self.regions, self.single, self.front, self.operator = regions, single, front, True
        self.changes: list[dict[str, Any]] = []
        self.said: dict[str, Any] = {}
        self.started = int(time.time() * 1000)

    def _find(self, target: str) -> list[Side]:
        return [s for s in (*self.regions, self.single) if target in (s.name, f"region/{s.name}", f"edge/{s.name}", f"origin/{s.name}")]

    def status(self) -> dict[str, Any]:
        now = int(time.time() * 1000)
        wave = (time.time() / 7) % 1
        broken = [s for s in (*self.regions, self.single) if s.fault]
        processes = []
        for side in self.regions:
            for number, kind in enumerate(("cell/c1", "cell/c2", "cell/c3", "cell/studio", "hub", "spokes", "worker/w1", "control", "agent", "edge", "origin")):
                group, _, name = kind.partition("/")
                state = {"": "ready", "down": "down", "hang": "hung", "slow": "slow"}.get(side.fault, "error" if kind in ("edge", "origin") else "ready")
                processes.append({
                    "target": f"{group}/{side.name}" + (f"/{name}" if name else ""), "kind": group, "region": side.name, "pid": None if state == "down" else 4000 + number,
                    "state": state, "url": side.api, "since_ms": side.since or self.started, "restarts": 0,
                    "requests_per_s": None if state == "down" else round(40 + 30 * wave + number * 3, 1),
                })  # fmt: skip
        for name in ("link", "front"):
            processes.append({"target": name, "kind": name, "region": "", "pid": 3000, "state": "ready", "url": "", "since_ms": self.started, "restarts": 0, "requests_per_s": 12.0})
        processes.append({"target": "single", "kind": "single", "region": "", "pid": 3010, "state": "down" if self.single.fault else "ready", "url": self.single.api, "since_ms": self.single.since or self.started, "restarts": 0, "requests_per_s": 4.0})
        ok = [s for s in self.regions if not s.fault]
        sentence = "Nobody is hurt: every region answers." if not broken else f"Region {broken[0].name} is {broken[0].fault}; its viewers are served by {ok[0].name if ok else 'nobody'}."
        return {
            "ready": True, "stage": "regions", "front": self.front, "sentence": sentence, "who": sentence, "hurt": [s.name for s in broken], "next": "eisbach heal" if broken else "eisbach fault down region/eu-central",
            "rehearsal": True, "now_ms": now, "started_ms": self.started,
            "regions": [{"name": s.name, "edge": s.api, "origin": s.media, "state": "down" if s.fault else "up"} for s in self.regions],
            "processes": processes,
            "cells": [
                {"id": f"{s.name}/{c}", "region": s.name, "group": g, "slots": n, "state": "down" if s.fault else "active", "version": "0.1.0", "requests_per_s": None if s.fault else round(30 + 20 * wave, 1)}
                for s in self.regions for c, g, n in (("c1", "eu/de/main", 32), ("c2", "eu/de/main", 32), ("c3", "eu/at/main", 64), ("studio", "any/all/studio", 64))
            ],
            "unfinished": [], "frozen": [], "out": [],
            "replication": [{"from": a.name, "to": b.name, "lag_ms": None if a.fault or b.fault else round(3 + 9 * wave), "ops_behind": None if a.fault or b.fault else int(3 * wave)} for a in self.regions for b in self.regions if a is not b],
            "hub": [{"region": s.name, "spoke": spoke, "backlog": 0 if not s.fault else None, "oldest_ms": 0, "dead_letters": 0} for s in self.regions for spoke in ("catalogue", "transcode", "copy", "search")],
            "jobs": [{"region": "eu-central", "asset": "dev-bunny", "kind": "transcode", "done": int(10 * wave), "total": 10, "state": "running"}],
            "faults": [{"target": f"region/{s.name}" if s in self.regions else "single", "kind": s.fault, "since_ms": s.since, "other": ""} for s in broken],
            "demo": {"state": "ready", "done": 5, "total": 5, "detail": ""},
            **self.said,
        }  # fmt: skip

    async def say(self, request: Request) -> Response:
        """Keys of the status as a test wants them, until all is healed."""
        self.said = await request.json()
        return JSONResponse({})

    async def faults(self, request: Request) -> Response:
        body = await request.json()
        found = self._find(body["target"])
        if not found:
            return JSONResponse({"status": 404, "code": "not_found", "detail": f"no target {body['target']!r}", "nearest": "region/eu-central"}, 404)
        for side in found:
            await side.break_(body.get("kind", "cut"))
            self.changes.insert(0, {"at_ms": side.since, "target": body["target"], "from": "ready", "to": side.fault, "why": "asked on the faults page"})
        return JSONResponse({"faults": self.status()["faults"], "targets": [body["target"]]})

    async def heal(self, request: Request) -> Response:
        target, self.said = (await request.json()).get("target"), {}
        healed = [s for s in (*self.regions, self.single) if s.fault and (not target or s in self._find(target))]
        for side in healed:
            await side.heal()
            self.changes.insert(0, {"at_ms": int(time.time() * 1000), "target": side.name, "from": "down", "to": "ready", "why": "healed"})
        return JSONResponse({"healed": [s.name for s in healed]})

    async def events(self, request: Request) -> Response:
        async def lines() -> AsyncIterator[str]:
            yield f"event: status\ndata: {json.dumps(self.status())}\n\n"
            seen = len(self.changes)
            while not await request.is_disconnected():
                await asyncio.sleep(0.5)
                for change in self.changes[: len(self.changes) - seen][::-1]:
                    yield f"event: change\ndata: {json.dumps(change)}\n\n"
                seen = len(self.changes)
                status = self.status()
                yield f"event: patch\ndata: {json.dumps({k: status[k] for k in status if k not in ('stage', 'front')})}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def demo(self, request: Request) -> Response:
        regions = [{"name": s.name, "edge": s.api, "origin": s.media} for s in self.regions]
        return JSONResponse({
            "rehearsal": True, "channel": "demo", "demo": {"state": "ready", "done": 5, "total": 5, "detail": ""},
            "left": {"label": "Single node", "stage": "single", "front": self.single.api, "regions": [], "break": "single"},
            "right": {"label": "Two regions", "stage": "regions", "front": self.front, "regions": regions, "break": "region/eu-central"},
        })  # fmt: skip

    async def log(self, request: Request) -> Response:
        return JSONResponse({s.name: s.log[-int(request.query_params.get("last", "500")) :] for s in (*self.regions, self.single)})

    def routes(self) -> list[Route]:
        async def session(request: Request) -> Response:
            return JSONResponse({"operator": self.operator, "rehearsal": True})

        async def status(request: Request) -> Response:
            return JSONResponse(self.status())

        async def changes(request: Request) -> Response:
            return JSONResponse({"changes": self.changes[:500]})

        async def why(request: Request) -> Response:
            target = request.query_params["target"]
            return JSONResponse({"target": target, "state": "ready", "since_ms": self.started, "sentence": f"{target} is ready since the platform started.", "because": ["its port answers", "its store is open"], "changes": self.changes[:5], "next": "eisbach status"})

        return [
            Route("/healthz", session), Route("/ops/session", session), Route("/ops/status", status), Route("/ops/changes", changes), Route("/ops/why", why),
            Route("/ops/faults", self.faults, methods=["POST"]), Route("/ops/heal", self.heal, methods=["POST"]),
            Route("/ops/events", self.events), Route("/demo/config", self.demo), Route("/dev/log", self.log), Route("/dev/status", self.say, methods=["POST"]),
        ]  # fmt: skip


class FrontApi:
    """The front passes a call to the first region that can answer."""

    def __init__(self, regions: list[tuple[Side, ASGIApp]]) -> None:
        self.regions = regions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for side, app in self.regions:
            if not side.fault:
                return await app({**scope, "root_path": "", "path": scope["path"]}, receive, send)
        await Response(status_code=502)(scope, receive, send)


def pages(static: Path) -> list[Any]:
    def page(name: str) -> Any:
        async def send(_: Request) -> Response:
            path = static / name
            return FileResponse(path, headers={"Cache-Control": "no-cache"}) if path.exists() else Response("not built: npm run build", 404)

        return send

    return [
        Route("/", page("index.html")), Route("/demo/", page("demo/index.html")), Route("/console/", page("console/index.html")),
        Mount("/assets", StaticFiles(directory=static / "assets", check_dir=False)),
    ]  # fmt: skip


async def main(network: str, static: Path) -> None:
    catalogue = DevCatalogue()
    a, b = (Side(name, f"{network}.{n}", (8080, 8081)) for n, name in ((1, "eu-central"), (2, "eu-west")))
    single = Side("single", f"{network}.9", (8080, 8080))
    front = Side("front", f"{network}.1", (8000, 8000))
    clock = SimpleNamespace(wall_ms=lambda: int(time.time() * 1000))

    def media(side: Side, sides: list[Side]) -> list[Any]:
        ways = [Pathway(s.name, s.media) for s in [side, *(s for s in sides if s is not side)]]
        steering = f"{side.api}/steer" if len(sides) > 1 else ""
        made = Manifests(catalogue.snapshot, clock=clock, keys=lambda: {"k1": KEY}, pathways=ways, steering_url=steering)
        return media_routes(MEDIA, made)

    shared = Viewers()
    apis = {side.name: with_cors(Starlette(routes=Api(side, [a, b], shared, catalogue).routes())) for side in (a, b)}
    for side in (a, b):
        side.apps = {8080: apis[side.name], 8081: with_cors(Starlette(routes=media(side, [a, b])))}
    alone = Api(single, [single], Viewers(), catalogue)
    single.apps = {8080: with_cors(Starlette(routes=[*alone.routes(), *media(single, [single]), *pages(static)]))}
    supervisor = Supervisor([a, b], single, front.api)
    through = FrontApi([(a, apis["eu-central"]), (b, apis["eu-west"])])
    front.apps = {8000: with_cors(Starlette(routes=[*supervisor.routes(), Mount("/v1", through), Route("/steer", through), *pages(static)]))}
    for side in (a, b, single, front):
        await side.up()
    print(f"{front.api}/  {front.api}/demo/  {front.api}/console/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="127.0.26")
    parser.add_argument("--static", type=Path, default=Path(__file__).parents[2] / "src/eisbach/web/static")
    arguments = parser.parse_args()
    for channel in ("demo", "two"):
        for name in ("dev-bunny", "dev-test"):
            link = MEDIA / "ch" / channel / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(Path("../../vod") / name)
    asyncio.run(main(arguments.network, arguments.static))
