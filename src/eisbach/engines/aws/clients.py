"""Clients of AWS, made once a process, with bounded waits and with everything counted that the bill counts.

Promises: no call takes longer than its time-out times its tries; retries are the SDK's own ("standard": backoff with
jitter and a token bucket, so a dead region costs no storm). Credentials come from where the SDK finds them (the role of
the task or function), never through here.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

__all__ = ["AwsClients", "AwsPlace", "AwsUsage", "open_clients"]

LONG_POLL_S: Final = 10
"""How long SQS may wait for a message: each empty answer is billed, 20 s is the most it allows."""
_CONNECT_S: Final = 1.0
_ANSWER_S: Final = 2.0
_TRIES: Final = 3
_CONNECTIONS: Final = 64


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
    replicated_units: float = 0.0
    """Write units on global tables: billed once more in every other region."""

    def count(self, parsed: Mapping[str, Any], *, replicated: frozenset[str] = frozenset()) -> None:
        """Add the units that an answer of DynamoDB names."""
        told: Any = parsed.get("ConsumedCapacity") or []
        for one in told if isinstance(told, list) else [told]:
            write = one.get("WriteCapacityUnits")
            read = one.get("ReadCapacityUnits")
            self.write_units += write or 0.0
            self.read_units += read or 0.0
            if one["TableName"].rpartition("/")[2] in replicated:
                self.replicated_units += write or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsClients:
    """One client a service; vendor objects without types, so they stay inside ``engines.aws``."""

    place: AwsPlace
    dynamodb: Any
    sns: Any
    sqs: Any
    polling: Any
    """SQS again, with time for long polls."""
    usage: AwsUsage


@asynccontextmanager
async def open_clients(place: AwsPlace) -> AsyncIterator[AwsClients]:
    """Clients for one region; connects at the first call, so a region that is down does not stop a process's start."""
    session, usage = AioSession(), AwsUsage()

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
            dynamodb=await client("dynamodb"),
            sns=await client("sns"),
            sqs=await client("sqs"),
            polling=await client("sqs", answer_s=LONG_POLL_S + place.answer_s),
            usage=usage,
        )
