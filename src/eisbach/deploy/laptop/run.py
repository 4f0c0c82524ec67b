"""``eisbach up``: supervisor, console and demo content in one event loop, until told to stop.

Promises: addresses are told before anything is ready; when it returns nothing runs any more.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eisbach.bootstrap.serve import serve
from eisbach.deploy.laptop.console import Console
from eisbach.deploy.laptop.demo import Demo
from eisbach.deploy.laptop.doors import Doors
from eisbach.deploy.laptop.observer import Observer
from eisbach.deploy.laptop.platform import Platform
from eisbach.kernel.errors import Unavailable
from eisbach.web import static_folder

__all__ = ["Running", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A platform that runs, or is about to."""

    platform: Platform
    demo: Demo
    doors: Doors

    def links(self) -> dict[str, str]:
        """Addresses for people; the tokens in them work once."""
        pages = self.platform.pages
        found = {"watch": f"{self.platform.topology.front}/"}
        found["demo"] = f"{pages}/demo/?token={self.doors.ticket()}"
        found["console"] = f"{pages}/console/?token={self.doors.ticket()}"
        return found


@asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[Running]:
    """Start everything; stop everything when the block ends.

    Raises:
        Invalid: the data folder is in use, or an address is taken; nothing was started or written.
    """
    supervisor, at = platform.supervisor, platform.documents.at
    demo = Demo(platform)
    regions = [(region, *_doors_of(platform, region)) for region in platform.topology.regions]
    observer = Observer(
        supervisor, token=platform.operator_token, regions=regions, demo=demo.state,
        weights=platform.front.weights if platform.front else dict,
    )  # fmt: skip
    hosts = {f"{name}:{port}" for name in (at.named, at.first) for port in (8000, 8001)}
    doors = Doors(hosts=hosts, token=platform.operator_token, random_token=lambda: secrets.token_urlsafe(24))
    console_address = at.console.removeprefix("http://")
    await supervisor.open(also=[(console_address, "console")], lay=platform.lay)
    supervisor.announce({"console": at.console, "front": platform.topology.front, "pages": platform.pages})
    console = Console(
        supervisor, observer, doors,
        static=_static(), demo=lambda: demo_config(platform, demo), front=platform.front,
    )  # fmt: skip
    host, _, port = console_address.partition(":")
    tasks = [
        asyncio.create_task(serve(console.app(), host=host, port=int(port))),
        asyncio.create_task(observer.run()),
        asyncio.create_task(demo.run()),
        *([asyncio.create_task(platform.front.run())] if platform.front else []),
    ]
    try:
        yield Running(platform=platform, demo=demo, doors=doors)
    finally:
        console.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await supervisor.aclose()


def demo_config(platform: Platform, demo: Demo) -> Mapping[str, Any]:
    """The answer of ``GET /demo/config``."""
    topology, at = platform.topology, platform.documents.at
    regions = [{"name": r, "edge": e, "origin": o} for r in topology.regions for e, o in (_doors_of(platform, r),)]
    labels = {"single": "Single node", "hub": "One cell", "cells": "One region", "regions": "Two regions"}
    if len(regions) > 2:
        labels["regions"] = f"{len(regions)} regions"
    has_left = platform.demo and topology.stage != "single"
    state = demo.state()
    return {
        "rehearsal": platform.settings.rehearsal,
        "channel": demo.channel if state["state"] == "ready" else None,
        "demo": state,
        "left": {
            "label": "Single node", "stage": "single", "front": f"http://{at.demo_host}:8080", "regions": [],
            "break": "single",
        } if has_left else None,
        "right": {
            "label": labels[topology.stage], "stage": topology.stage, "front": topology.front, "regions": regions,
            "break": "single" if topology.stage == "single" else f"region/{topology.regions[0]}",
        },
    }  # fmt: skip


def _doors_of(platform: Platform, region: str) -> tuple[str, str]:
    at = platform.documents.at
    alone = platform.topology.stage in ("single", "hub")
    return at.edge(region), at.edge(region) if alone else at.origin(region)


def _static() -> Any:
    with contextlib.suppress(Unavailable):
        return static_folder()
    return None
