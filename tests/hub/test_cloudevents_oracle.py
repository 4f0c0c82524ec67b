"""A second opinion on our CloudEvents: the CNCF's own SDK reads what we write, and we read what it writes."""

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eisbach.kernel.cloudevents import STRUCTURED, from_binary, from_structured, to_binary, to_structured
from eisbach.kernel.events import Event
from eisbach.testing.event_log_promises import an_event

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "events").glob("*.json"))
FORMAT = JSONFormat()
OURS = ("slot", "origin", "market", "cell", "traceparent", "dataref", "epoch", "seq", "prev", "after", "hlc")


def facts(event: Event) -> dict[str, Any]:
    """What both sides must agree on."""
    plain = {name: getattr(event, name) for name in ("id", "source", "type", "subject")}
    extensions = {name: str(value) for name in OURS if (value := getattr(event, name)) is not None}
    return {
        **plain, **extensions, "time": dt.datetime.fromisoformat(event.time),
        "data": msgspec.json.decode(event.data),
    }  # fmt: skip


def facts_of_theirs(event: CloudEvent) -> dict[str, Any]:
    data = event.get_data()
    body = data if isinstance(data, dict) else msgspec.json.decode(data)
    extensions = {name: str(value) for name in OURS if (value := event.get_extension(name)) is not None}
    return {
        "id": event.get_id(), "source": event.get_source(), "type": event.get_type(), "subject": event.get_subject(),
        **extensions, "time": event.get_time(), "data": body,
    }  # fmt: skip


def both_ways(event: Event) -> None:
    structured = http.HTTPMessage(headers={"content-type": STRUCTURED}, body=to_structured(event))
    headers, body = to_binary(event)
    binary = http.HTTPMessage(headers=dict(headers), body=body)

    theirs = http.from_structured(structured, FORMAT, CloudEvent)
    from_their_binary = http.from_binary(binary, FORMAT, CloudEvent)
    back = http.to_structured(theirs, FORMAT)
    back_binary = http.to_binary(theirs, FORMAT)

    assert facts_of_theirs(theirs) == facts(event)
    assert facts_of_theirs(from_their_binary) == facts(event)
    assert facts(from_structured(back.body)) == facts(event)
    assert facts(from_binary(back_binary.headers, back_binary.body)) == facts(event)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_event_means_the_same_to_the_other_side_in_both_forms(path: Path) -> None:
    both_ways(from_structured(path.read_bytes()))


words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words, lambda v: st.lists(v, max_size=3)
)


@given(words, st.integers(1, 2**62), st.dictionaries(words, values, max_size=4))
def test_any_subject_number_and_payload_survive_both_ways(subject: str, number: int, data: dict[str, Any]) -> None:
    event = msgspec.structs.replace(
        an_event(1), subject=subject, seq=number, hlc=number, data=msgspec.Raw(msgspec.json.encode(data)),
        market="de", after=f"3:{number % 10**12}", dataref="blobs:claims/2026-11-26/ab#sha256=ab",
    )  # fmt: skip

    both_ways(event)
