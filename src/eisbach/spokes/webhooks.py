"""Webhooks: events to addresses of others, each webhook a spoke of its own with the retries and dead letters of all.

``webhooks.toml`` in the spokes folder names them. A call carries the structured CloudEvent, signed as Standard Webhooks
says, with the event id as ``webhook-id``: it is made at least once, and the receiver drops what it knows.
Promises: an address that is not public is never called, whatever name or redirect led to it (SSRF).
Source: Standard Webhooks 1.0.0 (standardwebhooks.com); address blocks: IANA's special-purpose registries, as in
``ipaddress``.
May not know: HTTP clients.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import tomllib
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec

from eisbach.hub.authoring import spoke
from eisbach.kernel.cloudevents import STRUCTURED, to_structured
from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event
from eisbach.ports.clock import Clock
from eisbach.ports.spoke import Effects, SpokeSpec

__all__ = ["FILE", "Send", "Webhook", "headers_of", "is_public", "parse_webhooks", "webhook_spokes"]

FILE: Final = "webhooks.toml"
WEBHOOKS_MAX: Final = 100
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of every secret
_SECRET_BYTES: Final = (24, 64)
"""As Standard Webhooks says."""
_TIME_LIMIT: Final = timedelta(seconds=20)

Send = Callable[[str, Mapping[str, str], bytes], Awaitable[None]]
"""URL, headers, body: POST it; raises ``Rejected`` for what no repeat can mend, else anything that will be retried."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry ``[[webhook]]`` of the file."""

    name: str
    url: str
    """``https``; ``http`` only where the file says ``plain = true``."""
    on: list[str]
    """Event types."""
    secret: str
    """``whsec_`` and base64 of 24 to 64 bytes."""
    market: str = ""
    plain: bool = False
    attempts_max: int = 20


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    webhook: list[Webhook] = []


def parse_webhooks(text: str) -> list[Webhook]:
    """The file's webhooks.

    Raises:
        Invalid: not TOML, an unknown key, a wrong value; says which.
    """
    try:
        found = msgspec.convert(tomllib.loads(text), _File).webhook
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{FILE}: {error}") from error
    if len(found) > WEBHOOKS_MAX:
        raise Invalid(f"{FILE} has {len(found)} webhooks; at most {WEBHOOKS_MAX}")
    for webhook in found:
        key_of(webhook)
        check_url(webhook.url, plain=webhook.plain)
    return found


def check_url(url: str, *, plain: bool) -> None:
    """Whether this may be called at all, before its name is resolved.

    Raises:
        Invalid: another scheme, credentials in it, no host, or an address that is not public.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(f"webhook {url[:100]!r} is no URL: {error}") from error
    if parts.scheme != "https" and not (plain and parts.scheme == "http"):
        raise Invalid(f"webhook {url[:100]!r} is not https; plain = true allows http")
    if not host or parts.username is not None or parts.password is not None:
        raise Invalid(f"webhook {url[:100]!r} has no host, or credentials in it; sign instead")
    try:
        # As clients read it: they fold other scripts' digits and dots (UTS 46), and connect to what is an address then.
        address = ipaddress.ip_address(unicodedata.normalize("NFKC", host).translate(_DOTS).rstrip("."))
    except ValueError:
        return  # a name: judged once it is resolved
    if not is_public(str(address)):
        raise Invalid(f"webhook {url[:100]!r}: {address} is not a public address")


def is_public(text: str) -> bool:
    """Whether an address is on the public internet, also what it embeds (IPv4-mapped, 6to4, Teredo, NAT64)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = [address.ipv4_mapped, address.sixtofour, *(teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    outside = address.is_global and not address.is_multicast and not address.is_reserved
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        outside = True  # judged by what it embeds
    return outside and all(is_public(str(one)) for one in inner if one is not None)


_DOTS: Final = str.maketrans("\u3002\uff0e\uff61", "...")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def key_of(webhook: Webhook) -> bytes:
    """The signing key.

    Raises:
        Invalid: not ``whsec_`` and base64 of 24 to 64 bytes; the secret is not in the message.
    """
    least, most = _SECRET_BYTES
    try:
        key = base64.b64decode(webhook.secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not webhook.secret.startswith(_SECRET_PREFIX) or not least <= len(key) <= most:
        raise Invalid(
            f"webhook {webhook.name}: the secret is not {_SECRET_PREFIX} and base64 of {least} to {most} bytes"
        )
    return key


def headers_of(webhook: Webhook, *, identity: str, at_s: int, body: bytes) -> dict[str, str]:
    """The signature, over id, time and body, so that none of them can be changed or replayed later."""
    signed = f"{identity}.{at_s}.".encode() + body
    digest = hmac.new(key_of(webhook), signed, hashlib.sha256).digest()
    return {
        "content-type": STRUCTURED,
        "webhook-id": identity,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def webhook_spokes(webhooks: list[Webhook], send: Send, *, clock: Clock) -> list[SpokeSpec]:
    """A spoke each, ``webhook-NAME``.

    Raises:
        Invalid: a name or type that is none.
    """
    return [_spoke(webhook, send, clock) for webhook in webhooks]


def _spoke(webhook: Webhook, send: Send, clock: Clock) -> SpokeSpec:
    @spoke(
        f"webhook-{webhook.name}", on=webhook.on, where={"market": webhook.market} if webhook.market else {},
        attempts_max=webhook.attempts_max, time_limit=_TIME_LIMIT, first_delay=timedelta(seconds=5),
    )  # fmt: skip
    async def call(event: Event, effects: Effects) -> None:  # noqa: ARG001 - the call is the effect
        body = to_structured(event)
        await send(webhook.url, headers_of(webhook, identity=event.id, at_s=clock.wall_ms() // 1000, body=body), body)

    return call
