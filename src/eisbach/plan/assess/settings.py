"""Terraform resources that are a setting of another one: since its fourth version the provider has many of them apart.

Each says what it means for the resource that it names, in the words of ``aws``, and by which property it names it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["SETTINGS", "said"]


def _first(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = body.get(key)
    inner = inner[0] if isinstance(inner, list) and inner else inner
    return inner if isinstance(inner, dict) else {}


def _text(value: Any) -> str:
    return str(value if value is not None else "").strip('"')


def _least(body: Mapping[str, Any]) -> dict[str, Any]:
    least = _text(body.get("min_capacity"))
    return {"replicas": int(least)} if least.isdigit() and least != "0" else {}


def _enabled(body: Mapping[str, Any], block: str, key: str, name: str) -> dict[str, Any]:
    status = _text(_first(body, block).get(key)).upper()
    return {name: status == "ENABLED"} if status in ("ENABLED", "DISABLED", "SUSPENDED") else {}


SETTINGS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], dict[str, Any]]]]] = {
    "aws_appautoscaling_target": (("resource_id",), _least),
    "aws_sqs_queue_redrive_policy": (
        ("queue_url",), lambda body: {"redrive": True} if _text(body.get("redrive_policy")) not in ("", "{}") else {}
    ),
    "aws_s3_bucket_versioning": (
        ("bucket",), lambda body: _enabled(body, "versioning_configuration", "status", "versioning")
    ),
    "aws_efs_backup_policy": (("file_system_id",), lambda body: _enabled(body, "backup_policy", "status", "backed_up")),
}  # fmt: skip
"""Type -> (properties that name the resource it is said of, what it says)."""


def said(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting says, and by which properties it names its resource."""
    of, says = SETTINGS[kind]
    return {"of": of, "says": says(body)}
