"""The calls that are the same for everybody: config, home, titles, channels, programme now, steering.

Promises: made from the catalogue snapshot in memory, kept as bytes per variant until the snapshot or the minute
changes, with ETag and shared-cache headers, so that an edge serves millions of viewers from a few calls; never a
viewer's id in a URL. May not know: stores, viewers.
"""

import hashlib
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from eisbach.cell.places import Places
from eisbach.cell.routes import Answer, Call, Importance, Route
from eisbach.cell.surface import (
    ChannelSummary,
    Config,
    Home,
    NowNext,
    OnAir,
    Steering,
    TitleDetail,
    TrackRef,
    Tracks,
)
from eisbach.domain.accounts import AGE_BANDS, PLATFORMS, TIERS
from eisbach.domain.catalog import Asset, Card, Catalogue, Channel, Title, home_rails
from eisbach.domain.channels import Airing, now_and_next
from eisbach.domain.rights import is_offered
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.limits import HEARTBEAT_EVERY
from eisbach.ports.clock import Clock

__all__ = ["STEERING_TTL_S", "PublicCalls", "tracks_of"]

KEPT_MAX: Final = 2000
"""Answers kept as bytes."""
MINUTE_MS: Final = 60_000
STEERING_TTL_S: Final = 300
MIN_SDK: Final = "0.1"
TELEMETRY_S: Final = 30


class Freshness(NamedTuple):
    """How long shared caches may keep an answer, in seconds."""

    fresh: int
    while_revalidating: int
    if_error: int


CONFIG = Freshness(30, 300, 86_400)
HOME = Freshness(60, 600, 86_400)
TITLE = Freshness(60, 600, 86_400)
CHANNELS = Freshness(60, 600, 86_400)
NOW = Freshness(10, 30, 600)


class PublicCalls:
    """One a process."""

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        places: Places,
        *,
        markets: Sequence[str],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._catalogue, self._places, self._markets = catalogue, places, frozenset(markets)
        self._clock, self._rng = clock, rng
        self._kept: OrderedDict[tuple[Any, ...], tuple[bytes, str]] = OrderedDict()

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table."""

        def get(path: str, handler: Any, summary: str, answer: Any, importance: Importance = "degraded") -> Route:
            return Route(
                method="GET", path=path, handler=handler, summary=summary, answer=answer, importance=importance,
                caller="anyone",
            )  # fmt: skip

        return [
            get("/steer", self.steer, "Content steering for HLS and DASH", Steering, "critical"),
            get("/v1/{mkt}/{tier}/{plat}/config", self.config, "What an app asks first", Config),
            get("/v1/{mkt}/{tier}/{plat}/{age}/home", self.home, "The public part of the home page", Home),
            get("/v1/{mkt}/titles/{title}", self.title, "A title's page", TitleDetail),
            get("/v1/{mkt}/channels", self.channels, "Channels of a market", list[ChannelSummary]),
            get("/v1/{mkt}/epg/now", self.now, "What every channel shows now and next", list[NowNext]),
        ]

    async def steer(self, call: Call) -> Answer:
        """This region's media origin first; players report the pathway that failed by leaving it themselves."""
        market = call.query.get("mkt", "de")
        order = [e.region for e in self._places.for_media(market, ())]
        document = Steering(
            ttl=STEERING_TTL_S,
            reload_uri="/steer",
            pathway_priority=order,
            service_location_priority=order,
        )
        return Answer(200, msgspec.json.encode(document), [("Cache-Control", "no-store")])

    async def config(self, call: Call) -> Answer:
        """The same for a market, tier and platform."""
        market, _, _ = self._variant(call)

        def make() -> object:
            return Config(
                features={"live": True, "watchlist": True, "search": True, "thumbnails": True},
                heartbeat_s=int(HEARTBEAT_EVERY.total_seconds()),
                telemetry_s=TELEMETRY_S,
                steering_url=f"{self._places.here.api}/steer",
                steering_ttl_s=STEERING_TTL_S,
                min_sdk=MIN_SDK,
                endpoints=self._places.for_market(market),
            )

        return self._public(call, ("config", market), CONFIG, make)

    async def home(self, call: Call) -> Answer:
        """Rails of what may be offered now; another page at every full minute at the latest."""
        market, tier, platform = self._variant(call)
        age = self._age(call.params["age"])
        catalogue, now_ms = self._catalogue(), self._clock.wall_ms()

        def make() -> object:
            offered = [
                t
                for t in catalogue.titles.values()
                if t.asset and is_offered(t, market=market, age_max=age, at_ms=now_ms)
            ]
            live = [self._channel_card(c, catalogue, now_ms) for c in _channels(catalogue, market)]
            return Home(version=catalogue.version, rails=home_rails(offered, catalogue.assets, live))

        key = ("home", market, tier, platform, age, catalogue.version, now_ms // MINUTE_MS)
        return self._public(call, key, HOME, make)

    async def title(self, call: Call) -> Answer:
        """A title that is published in the market, also before and after its window (the page says when)."""
        market = self._market(call.params["mkt"])
        catalogue = self._catalogue()
        title = catalogue.titles.get(call.params["title"])
        if title is None or title.state != "published" or not any(market in w.markets for w in title.rights):
            raise NotFound(f"there is no title {call.params['title'][:64]!r} in market {market!r}; see home")

        def make() -> object:
            return _detail(title, catalogue.assets.get(title.asset or ""), market)

        return self._public(call, ("title", market, title.id, catalogue.version), TITLE, make)

    async def channels(self, call: Call) -> Answer:
        """By logical channel number."""
        market = self._market(call.params["mkt"])
        catalogue = self._catalogue()

        def make() -> object:
            return [
                ChannelSummary(id=c.id, number=c.number, names=c.names, tier=c.tier)
                for c in _channels(catalogue, market)
            ]

        return self._public(call, ("channels", market, catalogue.version), CHANNELS, make)

    async def now(self, call: Call) -> Answer:
        """Computed from the schedules and the clock, equal in both regions."""
        market = self._market(call.params["mkt"])
        catalogue, now_ms = self._catalogue(), self._clock.wall_ms()

        def make() -> object:
            return [
                NowNext(channel=c.id, now=_on_air(now, catalogue), next=_on_air(following, catalogue))
                for c in _channels(catalogue, market)
                if c.start_ms <= now_ms
                for now, following in [now_and_next(c, now_ms)]
            ]

        # Five seconds: a programme's change is seen within that, and a thousand callers share one computation.
        return self._public(call, ("now", market, catalogue.version, now_ms // 5000), NOW, make)

    def _public(self, call: Call, key: tuple[Any, ...], freshness: Freshness, make: Callable[[], object]) -> Answer:
        kept = self._kept.get(key)
        if kept is None:
            body = msgspec.json.encode(make())
            kept = (body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"')
            self._kept[key] = kept
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        body, etag = kept
        # Jittered, so that a thousand variants cached at kick-off do not expire in one second.
        fresh = freshness.fresh + self._rng.randrange(freshness.fresh // 10 + 1)
        if not self._catalogue().versions:
            fresh = 1  # a cell that knows no title yet (first start, rebuild) must not be remembered for a minute
        stale = f"stale-while-revalidate={freshness.while_revalidating}, stale-if-error={freshness.if_error}"
        headers = [("ETag", etag), ("Cache-Control", f"public, max-age=0, s-maxage={fresh}, {stale}")]
        if call.header(b"if-none-match") == etag:
            return Answer(304, b"", headers)
        return Answer(200, body, headers)

    def _variant(self, call: Call) -> tuple[str, str, str]:
        tier, platform = call.params["tier"], call.params["plat"]
        if tier not in TIERS or platform not in PLATFORMS:
            raise NotFound(f"there is no variant {tier[:16]}/{platform[:16]}; tiers are {TIERS}, platforms {PLATFORMS}")
        return self._market(call.params["mkt"]), tier, platform

    def _market(self, market: str) -> str:
        if market not in self._markets:
            raise NotFound(f"market {market[:16]!r} is not served here; this platform serves {sorted(self._markets)}")
        return market

    def _age(self, text: str) -> int:
        if not text.isdigit() or int(text[:3]) not in AGE_BANDS:
            raise Invalid(f"age {text[:8]!r} is not one of {AGE_BANDS}")
        return int(text)

    def _channel_card(self, channel: Channel, catalogue: Catalogue, now_ms: int) -> Card:
        asset = now_and_next(channel, now_ms)[0].asset if channel.start_ms <= now_ms and channel.loop else ""
        return Card(
            id=channel.id,
            kind="channel",
            names=channel.names,
            image=f"/img/{asset}/poster.jpg" if asset in catalogue.assets else "",
            asset=asset,
            tier=channel.tier,
            number=channel.number,
        )


def _channels(catalogue: Catalogue, market: str) -> list[Channel]:
    here = (c for c in catalogue.channels.values() if market in c.markets and c.loop)
    return sorted(here, key=lambda c: (c.number, c.id))


def _on_air(airing: Airing, catalogue: Catalogue) -> OnAir:
    title = catalogue.titles.get(airing.title)
    return OnAir(
        title=airing.title,
        names=title.names if title else {"en": airing.title},
        asset=airing.asset,
        image=f"/img/{airing.asset}/poster.jpg",
        age=title.age if title else 0,
        from_ms=airing.start_ms,
        to_ms=airing.end_ms,
    )


def tracks_of(asset: Asset | None) -> Tracks:
    """Languages that a viewer can choose; one entry per language and role, not per bitrate."""
    if asset is None:
        return Tracks()
    audio = dict.fromkeys((t.language, t.role) for t in asset.tracks if t.kind == "audio")
    text = dict.fromkeys((t.language, t.kind) for t in asset.text)
    return Tracks(
        audio=[TrackRef(lang=lang, role=role) for lang, role in audio],
        text=[TrackRef(lang=lang, kind=kind) for lang, kind in text],
    )


def _detail(title: Title, asset: Asset | None, market: str) -> TitleDetail:
    return TitleDetail(
        id=title.id,
        type=title.type,
        revision=title.revision,
        names=title.names,
        synopses=title.synopses,
        age=title.age,
        genres=title.genres,
        credit=title.credit or (asset.credit if asset else ""),
        duration_s=asset.duration_ms / 1000 if asset else 0,
        image=f"/img/{asset.id}/poster.jpg" if asset else "",
        asset=title.asset or "",
        tracks=tracks_of(asset),
        rights=[w for w in title.rights if market in w.markets],
    )
