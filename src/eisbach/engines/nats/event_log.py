"""The event log on NATS JetStream: one stream a region, one subject a source.

Promises: ``ports.event_log``. An append is compared against the subject's last sequence by the server, so two relays
of one cell cannot interleave; the last lsn travels in a header, so the relay's cursor lives here and a wiped hub
refills itself. The stream and every durable consumer are made when absent, also after a wipe, and positions then
start from the beginning (inboxes drop what was handled). Connects in the background and for ever: a process starts,
and goes on, without its hub. May not know: hub, spokes, the domain.
"""

import asyncio
import collections
import contextlib
import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import nats
import nats.aio.client
import nats.js
import nats.js.errors
from nats.js import api

from eisbach.engines.nats.errors import nats_errors
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.ids import parse_id, subject_token
from eisbach.kernel.limits import ENVELOPE_BYTES_MAX, OPLOG_KEPT
from eisbach.ports.event_log import (
    Delivery,
    Envelope,
    LastEnvelope,
    SubscriptionState,
    encode_envelope,
    read_envelope,
)

__all__ = ["JetStreamEventLog"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_LAST_LSN: Final = "Eisbach-Last-Lsn"
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_OF_ALL: Final = "Nats-Expected-Last-Sequence"
_TIMEOUT_S: Final = 2.0
_FETCH_S: Final = 5.0
_ACK_WAIT_S: Final = 10.0
"""A killed reader's deliveries come again after this; a living one prolongs them every three seconds."""
_NO_MESSAGE: Final = 10037
"""JSNoMessageFoundErr: the stream is there, the subject is empty."""


class JetStreamEventLog:
    """The log of one region, over one connection."""

    def __init__(self, url: str, *, region: str, only: Mapping[str, str] | None = None) -> None:
        """``open`` begins to connect.

        Args:
            url: ``nats://host:port``.
            region: whose log it is.
            only: subscription -> the one source that it reads; the hub then sends it nothing else. A cell that wants
                the studio's documents must not be sent, and parse, every write of every cell of its region.
        """
        self._url, self._only = url, dict(only or {})
        self._region = parse_id(region, what="region")
        self._stream = f"EV_{subject_token(region)}"
        self._client = nats.aio.client.Client()
        self._connecting: asyncio.Task[None] | None = None

    async def open(self) -> "JetStreamEventLog":
        """Begin to connect, in the background and for ever; returns at once."""
        self._connecting = asyncio.create_task(self._connect(), name=f"connect to {self._url}")
        return self

    async def last(self, source: str) -> LastEnvelope:
        """See ``EventLog``."""
        doing, subject = f"read the last envelope of {source}", self._subject(source)
        js = await self._jetstream(doing)
        with nats_errors(doing):
            try:
                message = await js.get_last_msg(self._stream, subject)
            except nats.js.errors.NotFoundError as error:
                if error.err_code != _NO_MESSAGE:
                    await self._ensure_stream(js)
                return LastEnvelope(0, 0)
        headers = message.headers or {}
        return LastEnvelope(message.seq or 0, int(headers.get(_LAST_LSN, "0")))

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """See ``EventLog``."""
        return await self._append(envelope, {_EXPECTED: str(expected)})

    async def append_behind(self, envelope: Envelope, *, expected: int) -> int:
        """See ``PipelinedLog``: the server checks both."""
        return await self._append(envelope, {_EXPECTED: str(expected), _EXPECTED_OF_ALL: str(expected)})

    async def _append(self, envelope: Envelope, expectations: Mapping[str, str]) -> int:
        doing, subject = f"append an envelope of {envelope.source}", self._subject(envelope.source)
        body = encode_envelope(envelope)
        js = await self._jetstream(doing)
        headers = {**expectations, _LAST_LSN: str(envelope.last_lsn)}
        with nats_errors(doing, writes=True):
            try:
                return (await js.publish(subject, body, timeout=_TIMEOUT_S, headers=headers)).seq
            except nats.js.errors.NoStreamResponseError:
                # New or wiped: the expected sequence decides, as it would have with the stream there.
                await self._ensure_stream(js)
                return (await js.publish(subject, body, timeout=_TIMEOUT_S, headers=headers)).seq

    async def subscribe(
        self, name: str, *, from_start: bool = True, in_flight_max: int = 8, anew: bool = False
    ) -> "JetStreamSubscription":
        """See ``EventLog``. ``name`` has no dots; works without a hub: the consumer is made when it is reached."""
        if _NAME.fullmatch(name) is None:
            raise Invalid(f"subscription {name!r} is not 1 to 64 of a-z, 0-9, '_', '-'")
        subscription = JetStreamSubscription(self, name, from_start=from_start, in_flight_max=in_flight_max, anew=anew)
        with contextlib.suppress(Unavailable):
            await subscription.ensure()
        return subscription

    async def forget(self, name: str) -> None:
        """See ``EventLog``."""
        doing = f"forget subscription {name}"
        js = await self._jetstream(doing)
        with nats_errors(doing), contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_consumer(self._stream, name)

    async def tail(self) -> AsyncIterator[Envelope]:
        """See ``EventLog``."""
        await self._jetstream("tail the log")
        with nats_errors("tail the log"):
            subscription = await self._client.subscribe(f"ev.{subject_token(self._region)}.*", pending_msgs_limit=256)

        async def envelopes() -> AsyncIterator[Envelope]:
            try:
                async for message in subscription.messages:
                    yield read_envelope(message.data)
            finally:
                with nats_errors("end the tail"):
                    await subscription.unsubscribe()

        return envelopes()

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``."""
        js = await self._jetstream("read the subscriptions")
        with nats_errors("read the subscriptions"):
            try:
                consumers = await js.consumers_info(self._stream)
            except nats.js.errors.NotFoundError:
                return {}
            return {info.name: await self._state_of(js, info) for info in consumers if info.config.durable_name}

    async def aclose(self) -> None:
        """See ``EventLog``."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        with nats_errors("close the connection to the hub"), contextlib.suppress(Unavailable):
            await self._client.close()

    async def _connect(self) -> None:
        await self._client.connect(
            self._url,
            name=f"eisbach-{self._region}",
            error_cb=_quiet,  # the default prints a traceback at every attempt; callers get Unavailable instead
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # seconds; annotated int, used as float
            connect_timeout=1,
            ping_interval=2,
            max_outstanding_pings=2,
            allow_reconnect=True,
        )

    async def _jetstream(self, doing: str) -> nats.js.JetStreamContext:
        """The connection, when it is up; waits a moment at the very start only."""
        if self._connecting is None:
            raise Unavailable(f"{doing}: the event log was never opened")
        if not self._connecting.done():
            await asyncio.wait({self._connecting}, timeout=_TIMEOUT_S / 2)
        if not self._client.is_connected:
            raise Unavailable(f"{doing}: hub {self._url} cannot be reached; it is tried for ever")
        return self._client.jetstream(timeout=_TIMEOUT_S)

    async def _ensure_stream(self, js: nats.js.JetStreamContext) -> None:
        token = subject_token(self._region)
        await js.add_stream(
            api.StreamConfig(
                name=self._stream,
                subjects=[f"ev.{token}.*"],
                storage=api.StorageType.FILE,
                retention=api.RetentionPolicy.LIMITS,
                discard=api.DiscardPolicy.OLD,
                max_age=OPLOG_KEPT.total_seconds(),
                max_msg_size=ENVELOPE_BYTES_MAX + 4096,  # headers count
                duplicate_window=1,  # unused: the expected sequence is the guard, and it has no window
            )
        )

    async def _state_of(self, js: nats.js.JetStreamContext, info: api.ConsumerInfo) -> SubscriptionState:
        backlog = (info.num_pending or 0) + (info.num_ack_pending or 0)
        age = 0
        if backlog:
            floor = info.ack_floor.stream_seq if info.ack_floor else 0
            with contextlib.suppress(nats.js.errors.NotFoundError):  # it was just handled, or pruned
                oldest = await js.get_msg(self._stream, seq=floor + 1, next=True, subject=self._filter(info.name))
                if oldest.time is not None:
                    age = int((dt.datetime.now(dt.UTC) - oldest.time).total_seconds() * 1000)
        return SubscriptionState(name=info.name, backlog=backlog, oldest_ms=max(0, age))

    def _filter(self, subscription: str | None) -> str:
        """The subjects that a subscription reads."""
        source = self._only.get(subscription or "")
        return self._subject(source) if source else f"ev.{self._token}.*"

    @property
    def _token(self) -> str:
        return subject_token(self._region)

    def _subject(self, source: str) -> str:
        region, _, cell = source.partition("/")
        parse_id(region, what="region of the source"), parse_id(cell, what="cell of the source")
        return f"ev.{self._token}.{subject_token(cell)}"


class JetStreamSubscription:
    """A durable pull consumer."""

    def __init__(self, log: JetStreamEventLog, name: str, *, from_start: bool, in_flight_max: int, anew: bool) -> None:
        self._log, self._name, self._anew = log, name, anew
        self._from_start, self._in_flight_max = from_start, in_flight_max
        self._pull: nats.js.JetStreamContext.PullSubscription | None = None
        self._in_hand: dict[JetStreamDelivery, None] = {}  # in order: what goes back comes again in it
        self._fetched: collections.deque[JetStreamDelivery] = collections.deque()
        self._closed = False

    async def ensure(self) -> "nats.js.JetStreamContext.PullSubscription":
        """Make the stream and the consumer when absent, and bind to it."""
        if self._pull is not None:
            return self._pull
        doing = f"subscribe {self._name}"
        js = await self._log._jetstream(doing)  # noqa: SLF001 - one module, two classes
        with nats_errors(doing):
            await self._log._ensure_stream(js)  # noqa: SLF001
            if self._anew:
                with contextlib.suppress(nats.js.errors.NotFoundError):
                    await js.delete_consumer(self._log._stream, self._name)  # noqa: SLF001
                self._anew = False
            await js.add_consumer(
                self._log._stream,  # noqa: SLF001
                api.ConsumerConfig(
                    durable_name=self._name,
                    filter_subject=self._log._filter(self._name),  # noqa: SLF001
                    deliver_policy=api.DeliverPolicy.ALL if self._from_start else api.DeliverPolicy.NEW,
                    ack_policy=api.AckPolicy.EXPLICIT,
                    ack_wait=_ACK_WAIT_S,
                    max_ack_pending=self._in_flight_max,
                    max_deliver=-1,
                ),
            )
            self._pull = await js.pull_subscribe_bind(self._name, stream=self._log._stream)  # noqa: SLF001
        return self._pull

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """See ``DurableSubscription``."""
        while not self._closed:
            if not self._fetched:
                for message in await self._fetch():
                    delivery = JetStreamDelivery(message, self._in_hand)
                    self._in_hand[delivery] = None
                    self._fetched.append(delivery)
            while self._fetched:
                yield self._fetched.popleft()

    async def _fetch(self) -> list[Any]:
        """The next messages, none when nothing came for a while."""
        pull = await self.ensure()
        doing = f"read for subscription {self._name}"
        with nats_errors(doing):
            # Beside messages that came between two reads nats-py asks on without an end, where no heartbeat may be:
            # refused (400), they would come again only after the acknowledgement wait. They are a sign of life, and so
            # are the marks of a request that ended, which nats-py counts among them and then throws away.
            alive = pull.pending_msgs > 0
            try:
                return await pull.fetch(self._in_flight_max, timeout=_FETCH_S, heartbeat=None if alive else 1)
            except nats.js.errors.FetchTimeoutError:
                return []  # heartbeats came: the hub lives and has nothing
            except TimeoutError:
                if alive:
                    return []  # it was asked for no heartbeat; the next read asks for them
                await self._unbind()
                raise
            except (nats.js.errors.APIError, nats.errors.Error):
                # The consumer is gone with a wiped hub: bind anew at the next call.
                await self._unbind()
                raise
        raise AssertionError("unreachable")

    async def _unbind(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            with contextlib.suppress(nats.errors.Error):
                await pull.unsubscribe()

    async def aclose(self) -> None:
        """See ``DurableSubscription``. What is in hand goes back at once; when the hub is away, after 10 s."""
        self._closed = True
        self._fetched.clear()
        with contextlib.suppress(Unavailable):
            for delivery in list(self._in_hand):
                await delivery.nak(0)
        await self._unbind()


class JetStreamDelivery:
    """One hand-over."""

    def __init__(self, message: Any, in_hand: "dict[JetStreamDelivery, None]") -> None:
        self._message, self._in_hand = message, in_hand
        self.envelope = read_envelope(message.data)
        self.sequence: int = message.metadata.sequence.stream
        self.attempt: int = message.metadata.num_delivered

    async def ack(self) -> None:
        """See ``Delivery``. Not waited for: a lost one means one more delivery."""
        self._in_hand.pop(self, None)
        with nats_errors(f"acknowledge {self.sequence}"):
            await self._message.ack()

    async def nak(self, delay_s: float) -> None:
        """See ``Delivery``."""
        self._in_hand.pop(self, None)
        with nats_errors(f"refuse {self.sequence}"):
            await self._message.nak(delay=delay_s)

    async def in_progress(self) -> None:
        """See ``Delivery``."""
        with nats_errors(f"prolong {self.sequence}"):
            await self._message.in_progress()


async def _quiet(_error: Exception) -> None:
    """Said through ``Unavailable`` where it matters."""
