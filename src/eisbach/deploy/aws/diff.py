"""What would change between two sets of templates, resource by resource, and which changes cost data.

Promises: pure; equal templates give nothing. A change is grave when CloudFormation would replace or remove something
that holds data: its name, keys or the resource itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Change", "diff"]

_HOLDS_DATA: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::DynamoDB::GlobalTable": ("TableName", "KeySchema", "LocalSecondaryIndexes"),
    "AWS::S3::Bucket": ("BucketName",),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
    "AWS::SNS::Topic": ("TopicName", "FifoTopic"),
    "AWS::SecretsManager::Secret": ("Name",),
    "AWS::CloudFront::KeyValueStore": ("Name",),
}
"""Type -> properties whose change replaces it (CloudFormation's reference, "Update requires: Replacement")."""
_DEEP_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource that differs."""

    stack: str
    resource: str
    kind: str
    what: str
    """``added``, ``removed`` or ``changed``."""
    where: tuple[str, ...] = ()
    """Paths within it that differ."""
    grave: bool = False


def diff(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Both are stack name -> template; a stack that is missing has no resources."""
    found: list[Change] = []
    for stack in sorted({*old, *new}):
        before, after = (side.get(stack, {}).get("Resources", {}) for side in (old, new))
        found += [
            _change(stack, name, before.get(name), after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
    return found


def _change(stack: str, name: str, before: Any, after: Any) -> Change:
    kind = (after or before)["Type"]
    if before is None:
        return Change(stack=stack, resource=name, kind=kind, what="added")
    if after is None:
        return Change(stack=stack, resource=name, kind=kind, what="removed", grave=kind in _HOLDS_DATA)
    where = tuple(_paths(before, after, "", 0))
    replaces = _HOLDS_DATA.get(kind, ())
    grave = "/Type" in where or any(p.split("/")[2] in replaces for p in where if p.startswith("/Properties/"))
    return Change(stack=stack, resource=name, kind=kind, what="changed", where=where, grave=grave)


def _paths(before: Any, after: Any, at: str, deep: int) -> Iterator[str]:
    if before == after:
        return
    if deep < _DEEP_MAX and isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _paths(before.get(key), after.get(key), f"{at}/{key}", deep + 1)
    elif deep < _DEEP_MAX and isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _paths(one, other, f"{at}/{index}", deep + 1)
    else:
        yield at or "/"
