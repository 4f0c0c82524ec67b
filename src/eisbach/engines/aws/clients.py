"""Clients of AWS, made once a process, with bounded waits and with everything counted that the bill counts.

Promises: no call takes longer than its time-out times its tries; retries are the SDK's own ("standard": backoff with
jitter and a token bucket, so a dead region costs no storm). Credentials come from where the SDK finds them (the role of
the task or function), never through here.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.loaders import Loader, create_loader

__all__ = ["LONG_POLL_S", "AwsClients", "AwsPlace", "AwsUsage", "open_clients"]

LONG_POLL_S: Final = 10
"""How long SQS may wait for a message: each empty answer is billed, 20 s is the most it allows."""
_CONNECT_S: Final = 1.0
_ANSWER_S: Final = 2.0
_TRIES: Final = 3
_CONNECTIONS: Final = 64
_OBJECT_ANSWER_S: Final = 20.0
"""Of S3, which takes a part of 8 MiB before it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsPlace:
    """A region and how it is reached."""

    region: str
    """AWS's name, e.g. ``eu-central-1``."""
    endpoint: str | None = None
    """URL in place of AWS's own: an emulator, or a private endpoint."""
    tries: int = _TRIES
    """Of one call, the first included; 1 to 5."""
    answer_s: float = _ANSWER_S
    """How long a call may take to answer, per try."""


@dataclass(slots=True)
class AwsUsage:
    """Since start, what the bill counts: no I/O to read it."""

    calls: Counter[str] = field(default_factory=Counter)
    """Attempts by ``service.Operation``; retries count, as on the bill."""
    read_units: float = 0.0
    """Of DynamoDB, as it reported them."""
    write_units: float = 0.0
    batch_rows: int = 0
    """Rows asked for by ``BatchGetItem``: at least a read unit each, whatever an emulator says."""
    replicated_units: float = 0.0
    """Write units on global tables: billed once more in every other region."""
    written: Counter[str] = field(default_factory=Counter)
    """Write units by what was written, e.g. ``state: item progress``: they add up to ``write_units``."""
    logged: Counter[str] = field(default_factory=Counter)
    """Ops in rows of the log, by what they are: a row is shared by all ops of a commit."""

    def told(self) -> dict[str, Any]:
        """As ``/status`` tells it."""
        return {
            "calls": dict(self.calls), "read_units": self.read_units, "batch_rows": self.batch_rows,
            "write_units": self.write_units, "replicated_units": self.replicated_units,
            "written": dict(self.written), "logged": dict(self.logged),
        }  # fmt: skip

    def wrote(self, units: float, what: str) -> None:
        """Add write units; ``what`` takes them."""
        self.write_units += units
        self.written[what] += units  # type: ignore[assignment]

    def count(self, parsed: Mapping[str, Any], *, what: str = "", replicated: frozenset[str] = frozenset()) -> None:
        """Add the units that an answer of DynamoDB names: a transaction names its kind, other calls have but one.

        Args:
            parsed: the answer.
            what: was written; empty: it was read.
            replicated: names of tables that other regions are billed for too.
        """
        writes = bool(what)
        told: Any = parsed.get("ConsumedCapacity") or []
        for one in told if isinstance(told, list) else [told]:
            units = one.get("WriteCapacityUnits" if writes else "ReadCapacityUnits", one.get("CapacityUnits", 0.0))
            if not writes:
                self.read_units += units
                continue
            self.wrote(units, what)
            if one["TableName"].rpartition("/")[2] in replicated:
                self.replicated_units += units


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsClients:
    """One client a service; vendor objects without types, so they stay inside ``engines.aws``."""

    place: AwsPlace
    usage: AwsUsage
    dynamodb: Any
    sns: Any = None
    sqs: Any = None
    polling: Any = None
    """SQS again, with time for long polls."""
    s3: Any = None


@cache
def _models() -> Loader:
    """The descriptions of AWS's services: half the cost of a client, and the same for all of a process."""
    return create_loader()


@asynccontextmanager
async def open_clients(place: AwsPlace, *, hub: bool = False, blobs: bool = False) -> AsyncIterator[AwsClients]:
    """Clients for one region; connects at the first call, so a region that is down does not stop a process's start.

    Args:
        place: region and endpoint.
        hub: SNS and SQS too.
        blobs: S3 too.
    """
    session, usage = AioSession(), AwsUsage()
    session.register_component("data_loader", _models())

    def counted(service: str) -> Any:
        def count(request: Any, event_name: str, **_: Any) -> None:
            del request
            usage.calls[f"{service}.{event_name.rpartition('.')[2]}"] += 1

        return count

    async with AsyncExitStack() as stack:

        async def client(service: str, *, answer_s: float = place.answer_s) -> Any:
            config = AioConfig(
                retries={"total_max_attempts": place.tries, "mode": "standard"},
                connect_timeout=_CONNECT_S,
                read_timeout=answer_s,
                max_pool_connections=_CONNECTIONS,
                # The digest of every answer costs CPU and guards against nothing that TLS and signatures do not.
                response_checksum_validation="when_required",
                request_checksum_calculation="when_required",
            )
            made = await stack.enter_async_context(
                session.create_client(service, region_name=place.region, endpoint_url=place.endpoint, config=config)
            )
            made.meta.events.register(f"before-send.{service}.*", counted(service))
            return made

        yield AwsClients(
            place=place,
            usage=usage,
            dynamodb=await client("dynamodb"),
            sns=await client("sns") if hub else None,
            sqs=await client("sqs") if hub else None,
            polling=await client("sqs", answer_s=LONG_POLL_S + place.answer_s) if hub else None,
            s3=await client("s3", answer_s=max(_OBJECT_ANSWER_S, place.answer_s)) if blobs else None,
        )
