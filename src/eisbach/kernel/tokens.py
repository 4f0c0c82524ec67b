"""Two signed strings with strict codecs: the media token in a path, and the signed playback session.

Media token: ``kid.expiry.scope.signature`` - HMAC-SHA256 over ``kid.expiry.scope``, two live keys per kind.
The codec parses, re-encodes and compares: a lenient parser accepted 478 non-identical forms in three seconds
(reference/reliability.md section 4). The same rule runs as njs in the media origin; ``tests`` hold both to one table.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from eisbach.kernel.errors import Denied
from eisbach.kernel.ids import parse_id

__all__ = [
    "MediaToken", "SignedSession", "mint_media_token", "open_session", "pass_scope", "seal_session",
    "verify_media_token",
]  # fmt: skip

_TOKEN = re.compile(r"([a-z0-9]{1,8})\.([1-9][0-9]{9})\.([a-z0-9][a-z0-9_-]{0,63})\.([A-Za-z0-9_-]{43})", re.ASCII)


class MediaToken(NamedTuple):
    """What a valid media token allows."""

    kid: str
    expiry: int
    """Seconds since 1970, ten digits."""
    scope: str
    """One asset or channel id without dots, or ``all``."""


_BLOCK = 64
"""Bytes of a block of SHA-256."""
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@lru_cache(maxsize=64)
def _prepared(key: bytes) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """HMAC (RFC 2104) with the key's two blocks hashed already: a fourth of what ``hmac.digest`` costs a signature."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _sign(key: bytes, text: str) -> str:
    begun = _prepared(key)
    inner, outer = begun[0].copy(), begun[1].copy()
    inner.update(text.encode())
    outer.update(inner.digest())
    return _base64(outer.digest())


def _base64(raw: bytes) -> str:
    """base64url without its padding."""
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def mint_media_token(key: bytes, *, kid: str, expiry: int, scope: str) -> str:
    """A token that lets its bearer read ``scope`` until ``expiry``."""
    text = f"{kid}.{expiry}.{parse_id(scope, what='media scope')}"
    token = f"{text}.{_sign(key, text)}"
    if _TOKEN.fullmatch(token) is None:
        raise AssertionError(f"minted a token the codec refuses: {text!r}")
    return token


def pass_scope(channel: str, asset: str) -> str:
    """The scope of a pass: a media token that says that an asset is part of a channel, to who sees no schedule."""
    return "m" + hashlib.sha256(f"{channel}/{asset}".encode()).hexdigest()[:40]


def verify_media_token(keys: Mapping[str, bytes], token: str, *, now: int) -> MediaToken:
    """Check form, key, signature and expiry.

    Raises:
        Denied: ``token_malformed``, ``token_key``, ``token_signature`` or ``token_expired``.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Denied("media token is not 'kid.expiry.scope.signature'; start playback anew", code="token_malformed")
    kid, expiry, scope, signature = match.groups()
    if kid not in keys:
        raise Denied(f"media token names key {kid!r}, which is not live; start playback anew", code="token_key")
    if not hmac.compare_digest(_sign(keys[kid], f"{kid}.{expiry}.{scope}"), signature):
        raise Denied("media token's signature does not fit; start playback anew", code="token_signature")
    if int(expiry) < now:
        raise Denied(f"media token expired at {expiry}, now is {now}; renew it", code="token_expired")
    return MediaToken(kid, int(expiry), scope)


class SignedSession(msgspec.Struct, frozen=True, array_like=True):
    """A playback session as the client carries it: any cell of the slot, in any region, can adopt it."""

    sid: str
    account: str
    profile: str
    slot: str
    asset: str
    """``vod:id`` or ``live:id``."""
    device: str
    started_ms: int
    expires_ms: int
    """Until when a heartbeat renews it; media tokens have their own expiry."""


def seal_session(session: SignedSession, key: bytes, *, kid: str) -> str:
    """``kid.payload.signature`` with base64url parts."""
    payload = _base64(msgspec.json.encode(session))
    return f"{kid}.{payload}.{_sign(key, f'{kid}.{payload}')}"


def open_session(keys: Mapping[str, bytes], text: str) -> SignedSession:
    """Check the signature, then parse; expiry is the caller's to judge (in the viewer's favour).

    Raises:
        Denied: ``session_malformed`` or ``session_signature``.
    """
    kid, _, rest = text.partition(".")
    payload, _, signature = rest.partition(".")
    if kid not in keys or len(text) > 2048:
        raise Denied("playback session is not one of ours; start playback anew", code="session_malformed")
    if not hmac.compare_digest(_sign(keys[kid], f"{kid}.{payload}"), signature):
        raise Denied("playback session's signature does not fit; start playback anew", code="session_signature")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return msgspec.json.decode(raw, type=SignedSession)
