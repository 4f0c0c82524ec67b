"""Webhooks: signed as Standard Webhooks says, retried like every spoke, and never to an address that is not public."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from eisbach.bootstrap.webhook_client import WebhookClient
from eisbach.hub.events import AccountCreated
from eisbach.kernel.cloudevents import from_structured
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.spokes.webhooks import is_public, parse_webhooks, webhook_spokes
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.spoke_bench import open_spoke_bench

KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
TYPE = AccountCreated.event_type
ENTRY = f'[[webhook]]\nname = "crm"\nurl = "https://example.com/hook"\non = ["{TYPE}"]\nsecret = "{SECRET}"\n'
CREATED = AccountCreated(account="a-1", kind="anonymous", market="de")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "nonsense",
        "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_called(address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_what_is_public_may_be_called(address) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("https://example.com/hook", "http://example.com/hook", "not https"),
        ("https://example.com/hook", "file:///etc/passwd", "not https"),
        ("https://example.com/hook", "https://127.0.0.1/", "not a public address"),
        ("https://example.com/hook", "https://\uff11\uff12\uff17.0.0.1/", "not a public address"),
        ("https://example.com/hook", "https://\u2460\u2461\u2466.0.0.1/", "not a public address"),
        ("https://example.com/hook", "https://127\u30020\u30020\u30021/", "not a public address"),
        ("https://example.com/hook", "https://127.0.0.1./", "not a public address"),
        ("https://example.com/hook", "https://[::ffff:169.254.169.254]/", "not a public address"),
        ("https://example.com/hook", "https://user:pass@example.com/", "credentials"),
        ("https://example.com/hook", "https://[", "no URL"),
        (SECRET, "whsec_short", "secret"),
        (SECRET, "plain", "secret"),
        ("name =", "nome =", "webhook[0]"),
        ("[[webhook]]", "[[webhook", "webhooks.toml"),
    ],
)
def test_a_wrong_entry_is_refused_and_says_why(old, new, said) -> None:
    with pytest.raises(Invalid) as refused:
        parse_webhooks(ENTRY.replace(old, new))

    assert said in str(refused.value)
    assert "kkk" not in str(refused.value)


async def test_an_event_is_signed_and_sent_until_it_is_taken() -> None:
    calls, answers = [], [Unavailable("503"), Unavailable("503"), None]

    async def send(url, headers, body) -> None:
        calls.append((url, headers, body))
        if (error := answers.pop(0)) is not None:
            raise error

    async with open_spoke_bench(*webhook_spokes(parse_webhooks(ENTRY), send, clock=ManualClock())) as bench:
        event = await bench.publish(CREATED)
        await bench.run_to_idle()
        letters = await bench.dead_letters()

    url, headers, body = calls[-1]
    signed = f"{event.id}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert (len(calls), url, list(letters)) == (3, "https://example.com/hook", [])
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert {call[1]["webhook-id"] for call in calls} == {event.id}
    assert from_structured(body).subject == "s-1"


async def test_a_receiver_that_refuses_makes_a_dead_letter_at_once() -> None:
    async def send(url, headers, body) -> None:
        raise Invalid("answers 410")

    async with open_spoke_bench(*webhook_spokes(parse_webhooks(ENTRY), send, clock=ManualClock())) as bench:
        await bench.publish(CREATED)
        await bench.run_to_idle()
        (letter,) = await bench.dead_letters()

    assert (letter.spoke, len(letter.history)) == ("webhook-crm", 1)


class Names(AbstractResolver):
    """A resolver of the test's own; what it answers is what an attacker's name server would."""

    def __init__(self, **names: str) -> None:
        self.names = names

    async def resolve(self, host, port=0, family=0):
        return [{
            "hostname": host, "host": self.names[host.partition(".")[0]], "port": port, "family": 2, "proto": 0, "flags": 0,
        }]  # fmt: skip

    async def close(self) -> None:
        """Nothing."""


@asynccontextmanager
async def receiver(handler) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_post("/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.23.7", 0)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


@pytest.mark.processes
async def test_a_name_or_redirect_that_leads_inside_is_refused_before_anything_is_sent() -> None:
    asked: list[str] = []

    async def handler(request) -> web.Response:
        asked.append(request.path)
        if request.path == "/to-inside":
            return web.Response(status=307, headers={"location": f"http://inside.test:{port}/secret"})
        if request.path == "/to-literal":
            return web.Response(status=308, headers={"location": f"http://127.0.23.7:{port}/secret"})
        if request.path == "/to-digits-of-another-script":
            return web.Response(status=307, headers={"location": f"http://\uff11\uff12\uff17.0.23.7:{port}/secret"})
        if request.path == "/loop":
            return web.Response(status=307, headers={"location": "/loop"})
        return web.Response(status={"/busy": 503, "/slow": 429, "/gone": 410, "/moved": 301}.get(request.path, 204))

    # The receiver stands in for a public address; "inside" is the same machine under an address that is not allowed.
    names = Names(outside="127.0.23.7", inside="127.0.0.1")
    client = WebhookClient(resolver=names, allowed=lambda address: address == "127.0.23.7")
    found = {}
    try:
        async with receiver(handler) as port:
            for path in (
                "ok",
                "to-inside",
                "to-literal",
                "to-digits-of-another-script",
                "loop",
                "busy",
                "slow",
                "gone",
                "moved",
            ):
                try:
                    await client.send(f"http://outside.test:{port}/{path}", {}, b"{}")
                    found[path] = "sent"
                except (Invalid, Unavailable) as error:
                    found[path] = type(error).__name__
            with pytest.raises(Invalid, match="not a public address"):
                await client.send(f"http://inside.test:{port}/direct", {}, b"{}")
    finally:
        await client.aclose()
        await asyncio.sleep(0)

    assert found == {
        "ok": "sent", "to-inside": "Invalid", "to-literal": "Invalid", "loop": "Invalid", "busy": "Unavailable",
        "to-digits-of-another-script": "Invalid",
        "slow": "Unavailable", "gone": "Invalid", "moved": "Invalid",
    }  # fmt: skip
    assert "/secret" not in asked
    assert "/direct" not in asked
