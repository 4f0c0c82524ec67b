"""CloudEvents 1.0 on the wire: the structured JSON form and the binary HTTP form of an event.

Our ``Event`` *is* the structured form with extensions as plain attributes; what differs are the rules for extension
values (``slot`` … ``hlc`` are strings where an integer would leave CloudEvents' 32 bits) and header encoding.
Source: CloudEvents 1.0.2, JSON event format 3, HTTP protocol binding 3.1.3.2 (percent-encoding). Pure.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event

__all__ = ["STRUCTURED", "from_binary", "from_structured", "to_binary", "to_structured"]

STRUCTURED: Final = "application/cloudevents+json"
_WIDE: Final = ("epoch", "seq", "prev", "hlc")
"""Over 32 bits, so strings on the wire (CloudEvents 1.0, type system)."""
_PLAIN: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Printable ASCII that headers carry as it is; space, quote and percent are encoded."""

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])


def to_structured(event: Event[msgspec.Raw]) -> bytes:
    """One JSON document; media type ``STRUCTURED``."""
    return msgspec.json.encode({**_attributes(event), "data": event.data})


def from_structured(body: bytes) -> Event[msgspec.Raw]:
    """What ``to_structured`` wrote, also by another producer.

    Raises:
        Invalid: not such an event; says where. Attributes we do not know are passed over.
    """
    try:
        found = _raw.decode(body)
        data = found.pop("data")
        plain = {name: msgspec.json.decode(value) for name, value in found.items()}
    except KeyError as error:
        raise Invalid("a CloudEvent without data is none of ours: `$.data` is missing") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{len(body)} bytes are not a structured CloudEvent: {error}") from error
    return _event(plain, bytes(data))


def to_binary(event: Event[msgspec.Raw]) -> tuple[dict[str, str], bytes]:
    """Headers (``ce-…``, ``content-type``) and body."""
    headers = {f"ce-{name}": quote(str(value), safe=_PLAIN) for name, value in _attributes(event).items()}
    headers["content-type"] = headers.pop("ce-datacontenttype")
    return headers, bytes(event.data)


def from_binary(headers: Mapping[str, str], body: bytes) -> Event[msgspec.Raw]:
    """What ``to_binary`` wrote; names of headers in any case.

    Raises:
        Invalid: as ``from_structured``.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    found: dict[str, Any] = {n[3:]: unquote(v) for n, v in lower.items() if n.startswith("ce-")}
    found["datacontenttype"] = lower.get("content-type", "application/json")
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body of a binary CloudEvent is not a JSON object: {error}") from error
    return _event(found, body)


def _attributes(event: Event[msgspec.Raw]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value
        for name in event.__struct_fields__
        if name != "data" and (value := getattr(event, name)) is not None
    }
    return {**found, **{name: str(found[name]) for name in _WIDE}}


def _event(attributes: dict[str, Any], data: bytes) -> Event[msgspec.Raw]:
    if attributes.get("specversion") != "1.0":
        raise Invalid(f"CloudEvents specversion is {str(attributes.get('specversion'))[:20]!r}; this reads '1.0'")
    try:
        for name in _WIDE:
            attributes[name] = int(attributes[name])
        event = msgspec.convert({**attributes, "data": None}, Event[Any])
    except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
        raise Invalid(f"attributes of a CloudEvent do not fit: {type(error).__name__} {error}"[:500]) from error
    if data[:1] != b"{":
        raise Invalid("the data of a CloudEvent of ours is a JSON object; `$.data` is not")
    return msgspec.structs.replace(event, data=msgspec.Raw(data))
