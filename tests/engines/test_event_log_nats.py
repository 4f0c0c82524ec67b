"""NATS JetStream keeps the promises of the event log, with a real server."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from eisbach.engines.nats.configuration import nats_configuration
from eisbach.engines.nats.event_log import JetStreamEventLog
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.ports.event_log import UnreadableEnvelope
from eisbach.testing.event_log_promises import (
    EventLogPromises,
    PipelinedLogPromises,
    an_envelope,
    backlog_of,
    fill,
    lsns,
    take,
)
from eisbach.testing.nats_host import SERVER, NatsHost

pytestmark = pytest.mark.processes


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NatsHost]:
    host = NatsHost(tmp_path)
    await host.start()
    yield host
    await host.aclose()


class TestJetStreamEventLog(PipelinedLogPromises, EventLogPromises):
    """All of them."""


async def test_a_connected_reader_reads_on_after_the_hub_was_wiped(host: NatsHost) -> None:
    """The consumer is gone with the stream; the same subscription object makes both anew."""
    log = await host.open()
    subscription = await log.subscribe("reader")
    await fill(log, 3)
    await take(subscription, 3)

    await host.wipe()
    taken = asyncio.ensure_future(_take_for_ever(subscription, 2))
    await _until_reachable(log)
    await fill(log, 2)

    async with asyncio.timeout(20):
        assert await taken == [1, 2]


async def test_a_subscription_to_one_source_is_sent_nothing_else_and_also_after_it_was_one_to_all(
    host: NatsHost,
) -> None:
    log = await host.open()
    await fill(log, 3)
    await fill(log, 2, source="eu-central/studio", first=10)
    await (await log.subscribe("projection")).aclose()

    pruned = await JetStreamEventLog(host.url, region="eu-central", only={"projection": "eu-central/studio"}).open()
    taken = await take(await pruned.subscribe("projection"), 2)

    assert [delivery.envelope.source for delivery in taken] == ["eu-central/studio"] * 2
    assert await backlog_of(pruned, "projection", 0) == 0
    await pruned.aclose()


async def test_bytes_that_are_no_envelope_are_delivered_as_such_and_what_follows_too(host: NatsHost) -> None:
    log = await host.open()
    await fill(log, 1)
    client = await nats.connect(host.url)
    await client.jetstream().publish(f"ev.{log._token}.intruder", b"\xff garbage")
    await client.close()
    await log.append(an_envelope(2), expected=1)
    subscription = await log.subscribe("reader")

    deliveries = []
    async with asyncio.timeout(20):
        async for delivery in subscription:
            deliveries.append(delivery)
            await delivery.ack()
            if len(deliveries) == 3:
                break
    await subscription.aclose()

    assert [isinstance(d.envelope, UnreadableEnvelope) for d in deliveries] == [False, True, False]


async def test_what_came_between_two_reads_is_handed_over_at_once_and_not_after_the_acknowledgement_wait(
    host: NatsHost,
) -> None:
    """nats-py asks on beside what lies in its queue, with a heartbeat and without an end; the server refuses that (400)."""
    log = await host.open()
    subscription = await log.subscribe("reader")
    pull = await subscription.ensure()
    late = json.dumps({"batch": 2, "expires": 5_000_000_000}).encode()  # a request that outlived its reader's patience
    await pull._nc.publish(pull._nms, late, pull._deliver)
    await fill(log, 2)
    async with asyncio.timeout(5):
        while pull.pending_msgs < 2:
            await asyncio.sleep(0.01)

    deliveries = await take(subscription, 2)

    assert [d.attempt for d in deliveries] == [1, 1]


async def test_an_idle_hub_is_not_taken_for_one_that_does_not_answer(
    host: NatsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of a request that ended just after its reader lies in the queue, where nats-py counts it as a message."""
    monkeypatch.setattr("eisbach.engines.nats.event_log._FETCH_S", 2.2)
    log = await host.open()
    subscription = await log.subscribe("reader")
    pull = await subscription.ensure()
    await pull._nc.publish(pull._deliver, b"", headers={"Status": "408", "Description": "Request Timeout"})
    async with asyncio.timeout(5):
        while not pull.pending_msgs:
            await asyncio.sleep(0.01)

    assert [await subscription._fetch(), await subscription._fetch()] == [[], []]


async def test_a_hub_that_hangs_is_noticed_by_the_second_read_at_the_latest(
    host: NatsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eisbach.engines.nats.event_log._FETCH_S", 2.2)
    log = await host.open()
    subscription = await log.subscribe("reader")
    pull = await subscription.ensure()
    await pull._nc.publish(pull._deliver, b"", headers={"Status": "408", "Description": "Request Timeout"})
    async with asyncio.timeout(5):
        while not pull.pending_msgs:
            await asyncio.sleep(0.01)
    await host.kill(signal.SIGSTOP)

    assert await subscription._fetch() == []
    with pytest.raises(Unavailable):
        await subscription._fetch()
    await host.kill(signal.SIGCONT)


async def test_without_a_hub_every_call_says_so_and_later_works(tmp_path: Path) -> None:
    host = NatsHost(tmp_path)
    log = await host.open()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await log.append(an_envelope(1), expected=0)

    await host.start()
    await _until_reachable(log)

    assert await log.append(an_envelope(1), expected=0) == 1
    await host.aclose()


async def _until_reachable(log: object) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await log.last("eu-central/c1")
                return  # noqa: TRY300 - the loop ends here
            except Unavailable:
                await asyncio.sleep(0.05)


async def _take_for_ever(subscription: object, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        try:
            found += lsns(await take(subscription, 1))
        except (Unavailable, TimeoutError):
            await asyncio.sleep(0.05)
    return found


def test_nats_server_accepts_the_configuration(tmp_path: Path) -> None:
    text = nats_configuration(region="eu-west", host="127.0.23.2", port=8222, monitor_port=8223, store=tmp_path / "hub")
    (tmp_path / "n.conf").write_text(text)

    done = subprocess.run([SERVER, "-t", "-c", tmp_path / "n.conf"], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "sync_interval: always" in text


@pytest.mark.parametrize("store", [Path("relative"), Path('/a/"b'), Path("/a/$b")])
def test_a_folder_that_would_break_out_of_the_configuration_is_refused(store: Path) -> None:
    with pytest.raises(Invalid):
        nats_configuration(region="eu-west", host="127.0.0.1", port=1, monitor_port=2, store=store)
