"""What a call costs before anything is done: the same server, the same body parsed, an answer of the same form.

``python -m bench.limits HOST PORT SECRETS``. No routing, no caller, no store. A start answers with the same document,
made and signed from memory: media token and session are HMACs that no service can save.
"""

import sys
from pathlib import Path

import msgspec
import uvloop
from starlette.types import Receive, Scope, Send
from tests.cell.kit import DEMO

from eisbach.bootstrap.serve import serve
from eisbach.cell.grants import SESSION_TTL_MS, Grants
from eisbach.cell.places import Places
from eisbach.cell.streams import Grant
from eisbach.cell.surface import Heartbeat, HeartbeatAnswer, PutProgress, StartPlayback
from eisbach.domain.accounts import Identity
from eisbach.domain.catalog import Catalogue
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.tokens import SignedSession
from eisbach.settings import Secrets, read_process

JSON = [(b"content-type", b"application/json")]


class Limits:
    """The application."""

    def __init__(self, secrets: Secrets) -> None:
        places = Places(
            "eu-central", {"eu-central": ("http://edge", "http://origin")}, preferred={}, distances={}, residencies={}
        )
        keys = [{kid: bytes.fromhex(key) for kid, key in k.items()} for k in (secrets.media_keys, secrets.session_keys)]
        self.grants = Grants(places, media_keys=keys[0], session_keys=keys[1])
        found = {type(d).__name__: {} for d in DEMO}
        for document in DEMO:
            found[type(document).__name__][document.id] = document
        self.catalogue = Catalogue(titles=found["Title"], assets=found["Asset"])
        self.progress = msgspec.json.Decoder(PutProgress)
        self.beat = msgspec.json.Decoder(Heartbeat)
        self.start = msgspec.json.Decoder(StartPlayback)
        self.encoder, self.clock = msgspec.json.Encoder(), SystemClock()
        self.what = self.grants.playable(
            "vod", "tears", who=who(), catalogue=self.catalogue, at_ms=self.clock.wall_ms()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = (await receive()).get("body", b"")
        status, body = 200, b"{}"
        if scope["method"] == "PUT":
            self.progress.decode(raw)
            status, body = 204, b""
        elif scope["path"].endswith("/heartbeat"):
            self.beat.decode(raw)
            body = self.encoder.encode(HeartbeatAnswer(action="continue", heartbeat_s=30))
        elif scope["method"] == "POST":
            self.start.decode(raw)
            status, body = 201, self.encoder.encode(self._session())
        headers = [*JSON, (b"content-length", str(len(body)).encode())] if body else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _session(self) -> object:
        now_ms = self.clock.wall_ms()
        signed = SignedSession(
            sid="s-0123456789abcdef", account="a-0123456789abcdef", profile="p1", slot="eu/de/main/0", asset="vod:tears",
            device="device-000001", started_ms=now_ms, expires_ms=now_ms + SESSION_TTL_MS,
        )  # fmt: skip
        return self.grants.session(self.what, Grant(now_ms, 0.0, now_ms // 1000 + 21_600), signed=signed, degraded=[])


def who() -> Identity:
    return Identity(
        account="a",
        device="d",
        profile="p1",
        market="de",
        tier="free",
        platform="web",
        age_max=12,
        entitlement=0,
        slot="eu/de/main/0",
    )


if __name__ == "__main__":
    uvloop.run(serve(Limits(read_process(Path(sys.argv[3]), Secrets)), host=sys.argv[1], port=int(sys.argv[2])))
