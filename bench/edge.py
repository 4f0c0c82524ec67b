"""CPU of edge, origin and front per request, read from /proc of the nginx worker; the client's own CPU does not count.

Baselines: a bare nginx that proxies, and one that sends the same file, both without rules, token, headers and log.
Limit: a bare nginx that answers at once. 16 connections, kept open; cells are played by a further nginx.
"""

import asyncio
import contextlib
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from bench.figures import Row

from eisbach.bootstrap.agent import nginx_process
from eisbach.bootstrap.tools import locate_tools
from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.edge.nginx_front import FrontRegion, FrontSite, front_config
from eisbach.edge.nginx_origin import KEYS_FILE, SCRIPT_FILE, OriginSite, keys_json, origin_config, script
from eisbach.edge.rules import Call, Region, decide
from eisbach.kernel.routing import RegionState
from eisbach.kernel.slotmap import CellEntry, SlotMap
from eisbach.kernel.tokens import mint_media_token
from eisbach.settings import Settings

HOST = "127.0.24.9"
EDGE, PEER, ORIGIN, FRONT, CELL, BARE = 8080, 8082, 8081, 8000, 8101, 8100
REQUESTS, CONNECTIONS = 6_000, 16
SLOTS = 1024
HOME_BYTES, SEGMENT_BYTES = 12_000, 200_000
NGINX = str(locate_tools(Settings()).nginx)
KEY = b"\x01" * 32
TOKEN = mint_media_token(KEY, kid="m1", expiry=4_000_000_000, scope="asset-1")
REGION = Region(name="eu-central", residency="eu")
SLOT = "Eisbach-Slot: eu/de/main/17\r\nAuthorization: Bearer " + "x" * 400 + "\r\n"


def slot_map() -> SlotMap:
    groups = {"eu/de/main": ["c1"] * SLOTS, "any/all/studio": ["c1"] * SLOTS}
    return SlotMap(
        region="eu-central", version=1, issued_ms=0, cells={"c1": CellEntry(address=f"{HOST}:{CELL}")}, groups=groups,
        preferred={group: ["eu-central"] * SLOTS for group in groups},
    )  # fmt: skip


def bare(listen: int, *places: str) -> str:
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{kind}_temp_path tmp_{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; {user} worker_processes 1; pid n.pid; error_log error.log; events {{ }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; {temporary}\n"
        f"upstream cell {{ server {HOST}:{CELL}; keepalive 32; }}\n"
        f"server {{ listen {HOST}:{listen}; {' '.join(places)} }} }}\n"
    )


@asynccontextmanager
async def running(prefix: Path, config: str, port: int, **files: bytes) -> AsyncIterator[int]:
    """The worker's pid."""
    prefix.mkdir()
    (prefix / "nginx.conf").write_text(config)
    for name, content in files.items():
        (prefix / name).write_bytes(content)
    command = [NGINX, "-p", f"{prefix}/", "-e", "error.log", "-c", "nginx.conf"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - a fork of 2 ms, before anything is measured
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                break
            await asyncio.sleep(0.02)
        yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    finally:
        process.terminate()
        process.wait(5)


def on_cpu_ns(pid: int) -> int:
    """Of a process with one thread; finer than the ticks of ``stat`` (sched-stats, field 1 of schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


async def cpu_us(worker: int, port: int, target: str, extra: str = "", *, requests: int = REQUESTS) -> float:
    """Microseconds of the worker's CPU for one request; every answer must have the status of the first."""
    request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{extra}\r\n".encode()
    seen: set[bytes] = set()

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 20)
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            seen.add(head[9:12])
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()

    await one(50)
    before = on_cpu_ns(worker)
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one(requests // CONNECTIONS))
    assert len(seen) == 1, f"{target}: {seen}"
    return (on_cpu_ns(worker) - before) / (requests // CONNECTIONS * CONNECTIONS) / 1000


async def bare_file_us(body: bytes) -> float:
    """Microseconds of CPU with which a bare nginx sends these bytes from a file: nothing that does more can be cheaper."""
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-bare-") as name:
        root = Path(name)
        (root / "body").write_bytes(body)
        root.chmod(0o755)  # the worker is another user when this is root
        async with running(root / "nginx", bare(BARE, f"location /body {{ alias {root}/body; }}"), BARE) as worker:
            return await cpu_us(worker, BARE, "/body")


def decide_us() -> float:
    document, call, count = slot_map(), Call(method="GET", target="/v1/me/rails?x=1", slot="eu/de/main/17"), 20_000
    started = time.process_time()
    for _ in range(count):
        decide(call, region=REGION, slot_map=document)
    return (time.process_time() - started) / count * 1e6


async def measure(root: Path) -> list[Row]:
    media = root / "media" / "vod" / "asset-1" / "v480"
    media.mkdir(parents=True)
    (media / "1.m4s").write_bytes(os.urandom(SEGMENT_BYTES))
    (root / "home.json").write_bytes(b"h" * HOME_BYTES)
    cache = 'add_header Cache-Control "public, s-maxage=600";'
    cell = bare(
        CELL,
        f"location / {{ return 200 '{'{}'}'; }}",
        f"location /v1/de/ {{ {cache} alias {root}/home.json; }}",
    )
    plain = bare(
        BARE,
        "location / { return 200 '{}'; }",
        'location /proxied { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://cell; }',
        f"location /files/ {{ alias {root}/media/vod/; }}",
        f"location /home {{ alias {root}/home.json; }}",
    )
    nginx = nginx_process()
    region = FrontRegion(
        edge=f"http://{HOST}:{EDGE}", origin=f"http://{HOST}:{ORIGIN}",
        state=RegionState(weight=100, healthy=True, distance={"de": 8}, residency="eu"),
    )  # fmt: skip
    sites = (
        EdgeSite(region=REGION, host=HOST, port=EDGE, peer_port=PEER, media=str(root / "media"), process=nginx),
        OriginSite(region="eu-central", host=HOST, port=ORIGIN, media=str(root / "media"), process=nginx),
        FrontSite(listens=(f"{HOST}:{FRONT}",), static=str(root), regions={"eu-central": region},
                  preferred={"eu/de/main": ["eu-central"] * SLOTS}, console=f"{HOST}:1", process=nginx),
    )  # fmt: skip
    document = slot_map()
    secret = {PEER_TOKEN_FILE: peer_token_map("t").encode()}
    keys = {KEYS_FILE: keys_json({"m1": KEY.hex()}), SCRIPT_FILE: script()}
    async with (
        running(root / "cell", cell, CELL),
        running(root / "bare", plain, BARE) as bare_nginx,
        running(root / "edge", edge_config(sites[0], document), EDGE, **secret) as edge,
        running(root / "origin", origin_config(sites[1], document), ORIGIN, **keys) as origin,
        running(root / "front", front_config(sites[2]), FRONT) as front,
    ):
        segment = f"/t/{TOKEN}/vod/asset-1/v480/1.m4s"
        few = REQUESTS // 4
        return rows(
            {
                "answer": await cpu_us(bare_nginx, BARE, "/x"),
                "bare proxied": await cpu_us(bare_nginx, BARE, "/proxied"),
                "bare home": await cpu_us(bare_nginx, BARE, "/home"),
                "bare file": await cpu_us(bare_nginx, BARE, "/files/asset-1/v480/1.m4s", requests=few),
                "call": await cpu_us(edge, EDGE, "/v1/me/rails", SLOT),
                "home": await cpu_us(edge, EDGE, "/v1/de/free/web/12/home"),
                "refusal": await cpu_us(edge, EDGE, "/v1/me/rails", "Eisbach-Slot: x\r\n"),
                "segment": await cpu_us(origin, ORIGIN, segment, requests=few),
                "front call": await cpu_us(front, FRONT, "/v1/me/rails", SLOT),
                "front segment": await cpu_us(front, FRONT, segment, requests=few),
                "decide": decide_us(),
            }
        )


def rows(us: dict[str, float]) -> list[Row]:
    answer = f"{us['answer']:.1f} us: a bare nginx answers at once"
    proxied = f"{us['bare proxied']:.1f} us: a bare nginx proxies"
    home = f"{us['bare home']:.1f} us: a bare nginx sends the same from a file"
    file = f"{us['bare file']:.1f} us: a bare nginx sends the file"

    def ratio(name: str, base: str) -> str:
        return f"{us[name] / us[base]:.2f} x" if us[base] else ""

    return [
        Row(figure=f"call by slot through the edge ({SLOTS} slots)", measured=us["call"], unit="us CPU", baseline=proxied,
            limit=answer, goal="<= 2.5 x bare", met=us["call"] <= 2.5 * us["bare proxied"], note=ratio("call", "bare proxied")),
        Row(figure=f"cached home from the edge ({HOME_BYTES // 1000} kB)", measured=us["home"], unit="us CPU",
            baseline=proxied, limit=home, goal="<= 1.5 x limit", met=us["home"] <= 1.5 * us["bare home"],
            note=ratio("home", "bare home")),
        Row(figure="refusal by the edge", measured=us["refusal"], unit="us CPU", limit=answer),
        Row(figure=f"segment with token from the origin ({SEGMENT_BYTES // 1000} kB)", measured=us["segment"],
            unit="us CPU", baseline=file, limit=file, goal="<= 2.5 x bare", met=us["segment"] <= 2.5 * us["bare file"],
            note=ratio("segment", "bare file")),
        Row(figure="call through the front", measured=us["front call"], unit="us CPU", baseline=proxied,
            note=ratio("front call", "bare proxied")),
        Row(figure="segment through the front (plain clients)", measured=us["front segment"], unit="us CPU", baseline=file,
            note=ratio("front segment", "bare file")),
        Row(figure="rules.decide in Python (simulated edge)", measured=us["decide"], unit="us CPU"),
    ]  # fmt: skip


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-edge-") as folder:
        return uvloop.run(measure(Path(folder)))
