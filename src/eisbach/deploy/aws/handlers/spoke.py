"""A spoke as a function: its queue's batches, and every minute what it held back.

The hub's own runner handles the batch, with the inbox in DynamoDB: each event once, in order of its subject, failures
held and tried again, dead letters set aside. Whatever was not settled before the call must end is given back to SQS.
Promises: a batch fails message by message. A schedule's call ({"sweep": true}) tries held events that are due and sends
commands that wait. Payloads above 64 KiB come from the region's bucket, or from its copy of the other region's.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from eisbach.deploy.aws.documents import SpokeDocument, read_document
from eisbach.deploy.aws.handlers.batch import BatchLog
from eisbach.deploy.aws.handlers.claims import claims_of
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox, seconds_left
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.hub_archive import HubArchive
from eisbach.engines.aws.messages import Arrived, place_of
from eisbach.engines.aws.spoke_store import DynamoSpokeStore
from eisbach.engines.embedded.clock import SystemClock
from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.ports.spoke import SpokeSpec
from eisbach.spokes.ingest import INGEST_SPOKES

__all__ = ["handle"]

_SWEEP_S: Final = 10.0
_LOOK_S: Final = 0.05
_COMMANDS_S: Final = 5.0
"""How long a call waits for its commands' answers, when all its events are settled."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    document: SpokeDocument
    spec: SpokeSpec
    store: DynamoSpokeStore
    archive: HubArchive
    transport: Any
    claims: ClaimChecks
    rng: random.Random


async def _open(stack: AsyncExitStack) -> _Opened:
    import aiohttp

    from eisbach.bootstrap.studio_client import HttpStudio

    document = read_document()
    if not isinstance(document, SpokeDocument):
        raise Invalid("this function handles a spoke, and its document is a cell's; the stacks set both")
    spec = next((one for one in INGEST_SPOKES if one.name == document.spoke), None)
    if spec is None:
        raise Invalid(f"no spoke {document.spoke!r}; there are {', '.join(one.name for one in INGEST_SPOKES)}")
    clients = await stack.enter_async_context(open_clients(AwsPlace(region=document.aws_region), blobs=True))
    secrets = await read_secrets(document.secret, region=document.aws_region)
    rng = random.Random()  # noqa: S311 - jitter and numbers, not secrets
    store = DynamoSpokeStore(clients, table=document.state_table, spokes=[spec.name], clock=SystemClock(), rng=rng)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    transport = HttpStudio(session, document.studio, token=secrets.service_token)
    archive = HubArchive(clients, document.hub_table)
    claims = await claims_of(document, clients, stack)
    return _Opened(document, spec, store, archive, transport, claims, rng)


async def _handled(opened: _Opened, event: dict[str, Any], left_s: float) -> dict[str, Any]:
    async def fetch(came: Arrived) -> bytes:
        kept = await opened.archive.get(came.source, place_of(came.sequence))
        if kept is None:
            raise NotFound(f"envelope {place_of(came.sequence)} of {came.source} is no longer in the hub's table")
        return kept.body

    log = await BatchLog.of(event, fetch)
    around = Surroundings(
        region=opened.document.region, log=log, store=opened.store, clock=SystemClock(), rng=opened.rng,
        claims=opened.claims,
    )  # fmt: skip
    host = SpokeHost([opened.spec], around, transport=opened.transport)
    running = asyncio.create_task(host.run())
    try:
        async with asyncio.timeout(left_s):
            await log.empty.wait()
            await _quiet(opened, host, sweep=not event.get("Records"))
    except TimeoutError:
        _logger.warning("call_ends_early", spoke=opened.spec.name, left=len(log.left))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return log.failures()


async def _quiet(opened: _Opened, host: SpokeHost, *, sweep: bool) -> None:
    """Until no event is in work and no command waits, or for so long: the rest is in the store, for the next call."""
    clock = SystemClock()
    end = clock.monotonic_ms() + (_SWEEP_S if sweep else _COMMANDS_S) * 1000
    while clock.monotonic_ms() < end:
        await clock.sleep(_LOOK_S)
        told = host.statistics()["spokes"][opened.spec.name]
        if told["in_work"] == 0 and not await opened.store.commands(limit=1) and not (sweep and told["held"]):
            return


_sandbox = Sandbox(_open)


def handle(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Of Lambda: a batch of SQS or a schedule's call; the messages that must come again."""
    left_s = seconds_left(context)
    answer = _sandbox.run(lambda opened: _handled(opened, event, left_s))
    return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a dict stays one
