"""Event types: schemas, refusals at the publisher, upcasters, CloudEvents, and what is readable for ever."""

import json
from pathlib import Path
from typing import ClassVar

import jsonschema
import msgspec
import pytest

from eisbach.hub.authoring import spoke
from eisbach.hub.events import BUILT_IN, TitlePublished
from eisbach.kernel.cloudevents import from_binary, from_structured, to_binary, to_structured
from eisbach.kernel.errors import Invalid
from eisbach.kernel.event_types import EventTypes, read_data
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.schema_changes import broken_by
from eisbach.ports.spoke import Effects
from eisbach.testing.event_log_promises import an_event

GOLDEN = Path(__file__).parent.parent / "golden" / "events"
RELEASED = Path(__file__).parents[2] / "schemas" / "events"


class ThingV2(msgspec.Struct, frozen=True, kw_only=True):
    event_type: ClassVar[str] = "tv.test.thing.happened.v2"
    earlier: ClassVar = {"tv.test.thing.happened.v1": lambda old: {**old, "device": "unknown"}}

    name: str
    device: str


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda p: p.stem)
def test_every_event_ever_released_can_still_be_read(path) -> None:
    event = from_structured(path.read_bytes())

    data = read_data(event, BUILT_IN.kinds[event.type])

    assert json.loads(msgspec.json.encode(data)) == json.loads(path.read_text())["data"]
    jsonschema.validate(json.loads(bytes(event.data)), BUILT_IN.schema(event.type))


def test_every_type_has_a_golden_example_and_a_released_schema() -> None:
    names = set(BUILT_IN.kinds)

    assert names <= {path.stem for path in GOLDEN.glob("*.json")}
    assert names <= {path.stem for path in RELEASED.glob("*.json")}


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda p: p.stem)
def test_no_schema_breaks_a_reader_of_the_last_release(path) -> None:
    assert broken_by(json.loads(path.read_text()), BUILT_IN.schema(path.stem)) == []


def changed(**changes) -> dict:
    schema = BUILT_IN.schema("tv.account.created.v1")
    properties = {**schema["properties"], **changes.pop("properties", {})}
    return {**schema, **changes, "properties": {k: v for k, v in properties.items() if v is not None}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"properties": {"kind": None}, "required": ["account", "market"]}, "$.kind is gone"),
        ({"properties": {"market": {"type": "integer"}}}, "$.market: type was 'string' and is 'integer' now"),
        ({"required": ["account", "kind"]}, "$.market was required and is optional or gone now"),
        ({"properties": {"plan": {"type": "string"}}, "required": ["account", "kind", "market", "plan"]},
         "$.plan was absent and is required now"),
    ],
)  # fmt: skip
def test_a_change_that_breaks_a_reader_is_named_with_its_path(change, said) -> None:
    assert said in broken_by(changed(), changed(**change))


def test_a_new_optional_field_breaks_nobody() -> None:
    assert broken_by(changed(), changed(properties={"plan": {"type": "string"}})) == []


def test_a_change_deep_inside_a_document_is_found() -> None:
    released = BUILT_IN.schema("tv.catalog.title.published.v1")
    now = json.loads(json.dumps(released))
    now["$defs"]["RightsWindow"]["properties"]["from_ms"]["type"] = "string"

    assert broken_by(released, now) == ["$.rights[].from_ms: type was 'integer' and is 'string' now"]


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        ("tv.account.created.v1", b'{"account":"a","kind":"b","market":7}', "$.market"),
        ("tv.account.created.v1", b'{"account":"a"}', "kind"),
        ("tv.account.created.v1", b"[]", "object"),
        ("tv.account.created.v1", b"\xff", "does not fit"),
        ("tv.account.created.v9", b"{}", "is not registered"),
        ("tv.catalog.title.published.v1",
         b'{"id":"t","revision":1,"names":{},"rights":[{"markets":["de"],"from_ms":"x"}]}', "$.rights[0].from_ms"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_the_publisher_with_the_path(type_, data, said) -> None:
    with pytest.raises(Invalid, match="event") as refused:
        BUILT_IN.check(EventDraft(type_, "s", data))

    assert said in str(refused.value)


def test_an_earlier_version_is_upcast_for_readers_and_refused_from_writers() -> None:
    types = EventTypes([ThingV2])

    read = read_data(an_event(1, data=b'{"name":"x"}'), ThingV2)

    assert read == ThingV2(name="x", device="unknown")
    with pytest.raises(Invalid, match="not registered"):
        types.check(EventDraft("tv.test.thing.happened.v1", "s", b'{"name":"x"}'))


def test_a_name_has_one_class() -> None:
    with pytest.raises(Invalid, match="a name has one"):
        EventTypes([ThingV2, ThingV2])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json"))[:3], ids=lambda p: p.stem)
def test_both_encodings_of_cloudevents_return_the_event(path) -> None:
    event = from_structured(path.read_bytes())
    event = msgspec.structs.replace(event, subject='Ä "ß" %20 ✓')

    assert msgspec.json.encode(from_structured(to_structured(event))) == msgspec.json.encode(event)
    assert msgspec.json.encode(from_binary(*to_binary(event))) == msgspec.json.encode(event)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":{}}',
        b'{"specversion":"0.3","data":{}}',
        b'{"specversion":"1.0","data":[]}',
        b"\xff",
    ],
)
def test_what_is_no_cloudevent_of_ours_is_refused(body) -> None:
    with pytest.raises(Invalid):
        from_structured(body)


def typed_spoke(read: list[object]):
    @spoke("notify", on=TitlePublished, where={"market": "de"})
    async def notify(event: Event[TitlePublished], effects: Effects) -> None:
        read.append(event.data.names["de"])
        effects.command("/studio/notify", {"title": event.data.id})

    return notify


async def test_a_spoke_named_by_a_type_reads_its_payload_decoded(hub) -> None:
    read: list[object] = []
    title = TitlePublished(id="t", revision=1, names={"de": "Der Eisbach"})
    await hub.start(typed_spoke(read))

    event = an_event(1, type_=TitlePublished.event_type, data=msgspec.json.encode(title))
    await hub.publish(msgspec.structs.replace(event, market="de"))
    await hub.idle()

    assert (read, hub.studio.paths) == (["Der Eisbach"], ["/studio/notify"])


async def test_a_payload_that_does_not_fit_is_a_dead_letter_with_the_path_and_the_handler_never_sees_it(hub) -> None:
    read: list[object] = []
    await hub.start(typed_spoke(read))

    event = an_event(1, type_=TitlePublished.event_type, data=b'{"id":"t","revision":1,"names":{"de":7}}')
    await hub.publish(msgspec.structs.replace(event, market="de"))
    await hub.idle()
    (letter,) = await hub.store.dead_letters()

    assert read == []
    assert "$.names[...]" in letter.reason
    assert "read_data" in letter.history[0].stack
