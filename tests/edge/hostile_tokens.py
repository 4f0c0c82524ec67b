"""Media tokens that must open nothing, and the two or three that open what they name: one table for both codecs."""

from eisbach.kernel.tokens import mint_media_token

KEYS = {"m1": b"\x01" * 32, "m2": b"\x02" * 32}
KEYS_HEX = {kid: key.hex() for kid, key in KEYS.items()}
NOW = 1_800_000_000
SCOPE = "asset-1"
FAR = 4_000_000_000
GOOD = mint_media_token(KEYS["m1"], kid="m1", expiry=FAR, scope=SCOPE)
SECOND = mint_media_token(KEYS["m2"], kid="m2", expiry=FAR, scope=SCOPE)
_KID, _EXPIRY, _SCOPE, _SIGNATURE = GOOD.split(".")
_EXPIRED = mint_media_token(KEYS["m1"], kid="m1", expiry=1_700_000_000, scope=SCOPE)
_OTHER_KEY = mint_media_token(b"\x03" * 32, kid="m1", expiry=FAR, scope=SCOPE)


def _with(kid: str = _KID, expiry: str = _EXPIRY, scope: str = _SCOPE, signature: str = _SIGNATURE) -> str:
    return f"{kid}.{expiry}.{scope}.{signature}"


def _flipped(at: int) -> str:
    return _SIGNATURE[:at] + ("A" if _SIGNATURE[at] != "A" else "B") + _SIGNATURE[at + 1 :]


def _same_bytes() -> str:
    """The signature's last character carries two spare bits: another spelling of the same 32 bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(_SIGNATURE[-1])
    return _SIGNATURE[:-1] + alphabet[last ^ 1]


HOSTILE: list[tuple[str, str]] = [
    ("", "token_malformed"),
    (".", "token_malformed"),
    ("...", "token_malformed"),
    ("x", "token_malformed"),
    (GOOD[:-1], "token_malformed"),
    (GOOD + "A", "token_malformed"),
    (GOOD + ".", "token_malformed"),
    ("." + GOOD, "token_malformed"),
    (GOOD + "=", "token_malformed"),
    (GOOD.upper(), "token_malformed"),
    (_with(kid=""), "token_malformed"),
    (_with(kid="M1"), "token_malformed"),
    (_with(kid="m-1"), "token_malformed"),
    (_with(kid="m12345678"), "token_malformed"),
    (_with(kid="m3"), "token_key"),
    (_with(kid="m2"), "token_signature"),
    (_with(kid="tostring"), "token_key"),
    (_with(kid="length"), "token_key"),
    (_with(expiry="04000000000"), "token_malformed"),
    (_with(expiry="0400000000"), "token_malformed"),
    (_with(expiry="+400000000"), "token_malformed"),
    (_with(expiry="-400000000"), "token_malformed"),
    (_with(expiry="4e9"), "token_malformed"),
    (_with(expiry="4_000_000_000"), "token_malformed"),
    (_with(expiry="40000000000"), "token_malformed"),
    (_with(expiry="400000000"), "token_malformed"),
    (_with(expiry="4000000001"), "token_signature"),
    (_with(expiry="9999999999"), "token_signature"),
    (_with(expiry="0x77359400"), "token_malformed"),
    (_with(scope="asset-2"), "token_signature"),
    (_with(scope="Asset-1"), "token_malformed"),
    (_with(scope="asset.1"), "token_malformed"),
    (_with(scope="-asset"), "token_malformed"),
    (_with(scope="all"), "token_signature"),
    (_with(scope=""), "token_malformed"),
    (_with(scope="a" * 65), "token_malformed"),
    (_with(scope="asset*"), "token_malformed"),
    (_with(signature=""), "token_malformed"),
    (_with(signature=_flipped(0)), "token_signature"),
    (_with(signature=_flipped(20)), "token_signature"),
    (_with(signature=_flipped(42)), "token_signature"),
    (_with(signature=_same_bytes()), "token_signature"),
    (_with(signature=_SIGNATURE.swapcase()), "token_signature"),
    (_with(signature="A" * 43), "token_signature"),
    (_with(signature="A" * 42 + "+"), "token_malformed"),
    (_with(signature="A" * 42 + "="), "token_malformed"),
    (f"{_KID}.{_SCOPE}.{_EXPIRY}.{_SIGNATURE}", "token_malformed"),
    (f"{_EXPIRY}.{_SCOPE}.{_SIGNATURE}", "token_malformed"),
    (_EXPIRED, "token_expired"),
    (_OTHER_KEY, "token_signature"),
]
"""(token, code of the refusal)."""

UNSPELLABLE = [
    GOOD.replace("m1", "%6d1", 1),
    GOOD.replace(".", "%2e"),
    GOOD + "%00",
    GOOD + "%0a",
    GOOD + "%20",
    GOOD + "?",
    GOOD + ";x",
    GOOD.replace("m1", "\u0661".encode().decode("latin-1"), 1),
    _with(expiry="".join(chr(0x660 + int(d)) for d in _EXPIRY).encode().decode("latin-1")),
    "../" + GOOD,
    GOOD + "/..",
    GOOD + "/",
    "a/" + GOOD,
]
"""Forms that a lenient reader might take for ``GOOD``; over HTTP they have no spelling that passes."""
