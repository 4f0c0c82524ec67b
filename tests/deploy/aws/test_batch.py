"""What a function gives back to its FIFO queue: the first that failed of a group, and all that is behind it."""

from typing import Any

import msgspec

from eisbach.deploy.aws.handlers.batch import BatchLog
from eisbach.engines.aws.messages import Arrived
from eisbach.kernel.errors import NotFound
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope, encode_envelope


def record(number: int, group: str, *, archived: bool = False) -> dict[str, Any]:
    told = {"sequence": {"dataType": "Number", "stringValue": str(number)}}
    if archived:
        told["archived"] = {"dataType": "String", "stringValue": "1"}
    event = Event(
        id=f"e-{number}", source="//eu-central/studio", type="tv.catalog.title.published.v1", subject="x", time="",
        slot="any/all/studio/1", origin="eu-central", epoch=1, seq=number, prev=number - 1, hlc=number,
        data=msgspec.Raw(b"{}"),
    )  # fmt: skip
    body = encode_envelope(Envelope(source=group, first_lsn=number, last_lsn=number, events=[event])).decode()
    return {
        "messageId": f"m-{number}", "body": body, "messageAttributes": told,
        "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": "1"},
    }  # fmt: skip


async def gone(came: Arrived) -> bytes:
    raise NotFound(f"{came.source} has it no longer")


async def batch(*records: dict[str, Any]) -> BatchLog:
    return await BatchLog.of({"Records": list(records)}, gone)


def back(log: BatchLog) -> list[str]:
    return [one["itemIdentifier"] for one in log.failures()["batchItemFailures"]]


async def acknowledge(log: BatchLog, *numbers: int) -> None:
    for delivery in list(log.left):
        if delivery.id in {f"m-{number}" for number in numbers}:
            await delivery.ack()


async def test_behind_the_first_that_failed_all_of_its_group_come_again_and_nothing_of_another() -> None:
    log = await batch(record(1, "a"), record(2, "b"), record(3, "a"), record(4, "a"), record(5, "b"))

    await acknowledge(log, 1, 2, 4, 5)

    assert back(log) == ["m-3", "m-4"]
    await acknowledge(log, 3)
    assert back(log) == []


async def test_an_envelope_that_cannot_be_fetched_holds_up_its_own_group_alone() -> None:
    log = await batch(record(1, "a"), record(2, "a", archived=True), record(3, "b"), record(4, "a"))

    assert [delivery.id for delivery in log.left] == ["m-1", "m-3"], "what is behind it is not handed out before it"
    await acknowledge(log, 1, 3)
    assert log.empty.is_set()
    assert back(log) == ["m-2", "m-4"]
