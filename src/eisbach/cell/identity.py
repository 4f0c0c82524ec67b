"""Tokens of viewers: JWT with Ed25519, minted here, verified here, nothing looked up.

Promises: one algorithm, pinned by name (``Ed25519``, RFC 9864) whatever a header says; a key is chosen by ``kid`` from
the regions' public keys, so any region's cell accepts any region's token; a token verified once is remembered by its
text until it expires, because a signature costs 130 us and a look-up less than one.
May not know: accounts' items, HTTP, which cell owns a slot.
"""

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from eisbach.cell.problems import Unauthorized
from eisbach.domain.accounts import Identity
from eisbach.kernel.limits import ACCESS_TOKEN_GRACE, ACCESS_TOKEN_TTL, REFRESH_TOKEN_TTL
from eisbach.ports.clock import Clock

__all__ = ["Minted", "TokenStatistics", "Tokens"]

ALGORITHM: Final = "Ed25519"
TOKEN_CHARS_MAX: Final = 4096
REMEMBERED_MAX: Final = 50_000
"""Tokens; about 1 kB each. Beyond it the longest unused is forgotten and costs a signature again."""
EXPIRY_JITTER: Final = 0.2
"""Tokens given at kick-off must not all be refreshed in the same second a quarter of an hour later."""

Use = Literal["access", "refresh"]


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says."""

    use: Use
    sub: str
    dev: str
    pid: str
    mkt: str
    tier: str
    plat: str
    age: int
    ent: int
    slot: str
    exp: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A pair of tokens."""

    access: str
    refresh: str
    expires_in: int
    """Seconds, of the access token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """Since start."""

    minted: int
    verified: int
    """Signatures checked."""
    remembered: int
    refused: int
    graced: int
    """Expired ones accepted during an outage of sign-in."""


class Tokens:
    """Mints with this region's key, verifies with every region's."""

    def __init__(
        self, *, private: Mapping[str, str], public: Sequence[Mapping[str, str]], clock: Clock, rng: random.Random
    ) -> None:
        """``private``: an OKP JWK with ``kid``; ``public``: every region's."""
        self._key = OKPKey.import_key(dict(private))
        self._kid = private["kid"]
        self._public = {key["kid"]: OKPKey.import_key(_public_part(key)) for key in public}
        self._clock, self._rng = clock, rng
        self._known: OrderedDict[str, tuple[Use, int, Identity]] = OrderedDict()
        self._minted = self._verified = self._refused = self._graced = 0
        self.grace = False
        """Accept access tokens up to six hours after their end: only while sign-in is down everywhere (fail open)."""

    def mint(self, identity: Identity) -> Minted:
        """A new pair for ``identity``."""
        ttl = ACCESS_TOKEN_TTL.total_seconds()
        expires_in = int(ttl * (1 - EXPIRY_JITTER + 2 * EXPIRY_JITTER * self._rng.random()))
        access = self._sign(identity, "access", expires_in)
        refresh = self._sign(identity, "refresh", int(REFRESH_TOKEN_TTL.total_seconds()))
        self._minted += 1
        return Minted(access, refresh, expires_in)

    def verify(self, text: str, *, use: Use = "access") -> Identity:
        """Who carries this token.

        Raises:
            Unauthorized: ``token_invalid``, ``token_foreign`` (signed by nobody we know) or ``token_expired``.
        """
        known = self._known.get(text)
        if known is None:
            known = self._check(text)
            self._known[text] = known
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        found, expiry, identity = known
        if found != use:
            raise self._refuse(f"a {found} token stands where an {use} token belongs", "token_invalid")
        now = self._clock.wall_ms() // 1000
        if expiry <= now:
            if use == "access" and self.grace and now < expiry + ACCESS_TOKEN_GRACE.total_seconds():
                self._graced += 1
                return identity
            raise self._refuse(f"the {use} token ended at {expiry}, now is {now}; refresh or sign in", "token_expired")
        return identity

    def statistics(self) -> TokenStatistics:
        """Since start."""
        return TokenStatistics(
            minted=self._minted,
            verified=self._verified,
            remembered=len(self._known),
            refused=self._refused,
            graced=self._graced,
        )

    def _sign(self, identity: Identity, use: Use, seconds: int) -> str:
        claims = _Claims(
            use=use,
            sub=identity.account,
            dev=identity.device,
            pid=identity.profile,
            mkt=identity.market,
            tier=identity.tier,
            plat=identity.platform,
            age=identity.age_max,
            ent=identity.entitlement,
            slot=identity.slot,
            exp=self._clock.wall_ms() // 1000 + seconds,
        )
        header = {"alg": ALGORITHM, "kid": self._kid}
        return jwt.encode(header, msgspec.to_builtins(claims), self._key, algorithms=[ALGORITHM])

    def _check(self, text: str) -> tuple[Use, int, Identity]:
        if len(text) > TOKEN_CHARS_MAX:
            raise self._refuse(
                f"a token of {len(text)} characters; ours have fewer than {TOKEN_CHARS_MAX}", "token_invalid"
            )
        try:
            token = jwt.decode(text, self._choose, algorithms=[ALGORITHM])
            claims = msgspec.convert(token.claims, _Claims)
        except (JoseError, ValueError, msgspec.ValidationError) as error:
            raise self._refuse(
                f"the token does not hold ({type(error).__name__}); sign in again", "token_invalid"
            ) from error
        self._verified += 1
        identity = Identity(
            account=claims.sub,
            device=claims.dev,
            profile=claims.pid,
            market=claims.mkt,
            tier=claims.tier,
            platform=claims.plat,
            age_max=claims.age,
            entitlement=claims.ent,
            slot=claims.slot,
        )
        return claims.use, claims.exp, identity

    def _choose(self, token: Any) -> OKPKey:
        """The public key that a token's ``kid`` names; joserfc's own type of unverified tokens is private."""
        kid = token.headers().get("kid")
        if not isinstance(kid, str) or kid not in self._public:
            raise self._refuse("the token is signed by nobody we know; sign in here", "token_foreign")
        return self._public[kid]

    def _refuse(self, message: str, code: str) -> Unauthorized:
        self._refused += 1
        return Unauthorized(message, code=code)


def _public_part(key: Mapping[str, str]) -> dict[str, Any]:
    """Without ``d``: a private key in the list of public ones must not make this cell able to sign as that region."""
    return {name: value for name, value in key.items() if name != "d"}
