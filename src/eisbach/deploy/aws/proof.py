"""``make aws-proof``: a small platform on a real account, one event through it, and everything gone again.

It has never been run on AWS. Opt-in three times over: an environment variable, the account's number, a budget; without
all three nothing is asked of AWS. Promises: what was begun is torn down, also after a failure, Ctrl-C or SIGTERM; what
could not be is named, and the exit code says so; a dated result is written in either case; no data outlive it (tables,
buckets and log groups of a proof are its own, named after its start, and are deleted although stacks retain them). What
stays is the functions' code and the templates in the bootstrap's own bucket.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from eisbach.deploy.aws.account import lacks
from eisbach.deploy.aws.deployer import Change, Client, Deployer, Stack, stacks_of
from eisbach.deploy.aws.errors import aws_errors
from eisbach.deploy.aws.key_material import put_key_material
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.synth import synthesise
from eisbach.kernel.errors import EisbachError, Invalid, Unavailable
from eisbach.ports.clock import Clock

__all__ = ["CONSENT", "Consent", "Proof", "Step", "consent", "proof_platform"]

CONSENT: Final = "EISBACH_AWS_PROOF"
_WORDS: Final = "this-costs-money"
_BUDGET_MAX_USD: Final = 50
_DOLLARS_AN_HOUR: Final = 2.0
"""More than what runs costs an hour in two regions (docs/aws.md adds it up); the budget divided by it is the time."""
_ARRIVES_S: Final = 120.0
_AT_REST_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Consent:
    """That somebody wants it, and within what."""

    account: str
    budget_usd: int

    @property
    def seconds_max(self) -> float:
        """How long it may stand before it is torn down."""
        return self.budget_usd / _DOLLARS_AN_HOUR * 3600


def consent(environment: Mapping[str, str] = os.environ) -> Consent:
    """Read it.

    Raises:
        Invalid: any of the three is missing or wrong; the message has all three.
    """
    account, budget = environment.get("EISBACH_AWS_ACCOUNT", ""), environment.get("EISBACH_AWS_BUDGET_USD", "")
    if environment.get(CONSENT) != _WORDS:
        raise Invalid(f"aws-proof creates resources that cost money; set {CONSENT}={_WORDS} to want that")
    if len(account) != 12 or not (account.isascii() and account.isdigit()):
        raise Invalid(f"aws-proof needs EISBACH_AWS_ACCOUNT, 12 digits; it is {account[:20]!r}")
    if not (budget.isascii() and budget.isdigit()) or not 1 <= int(budget) <= _BUDGET_MAX_USD:
        raise Invalid(f"aws-proof needs EISBACH_AWS_BUDGET_USD, 1 to {_BUDGET_MAX_USD}; it is {budget[:20]!r}")
    return Consent(account, int(budget))


def proof_platform(platform: Platform, started: datetime) -> Platform:
    """The platform under a name of its own, so that it meets nothing that is there; functions alone, no tasks."""
    name = f"p{started:%m%d%H%M%S}"
    compute = msgspec.structs.replace(platform.compute, door="http-api", image="")
    return msgspec.structs.replace(platform, name=name, compute=compute)


@dataclass(slots=True)
class Step:
    """One line of the result."""

    what: str
    ok: bool
    seconds: float
    said: str = ""


@dataclass(slots=True)
class Proof:
    """One run."""

    platform: Platform
    consent: Consent
    client: Client
    clock: Clock
    package: Path
    folder: Path
    change: Change | None = None
    """What an emulator needs of a template; None on AWS."""
    check_account: bool = True
    steps: list[Step] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What could not be torn down."""

    async def run(self) -> bool:
        """Everything, and the tearing down; whether all went well.

        Raises:
            Invalid: the account is not the one that was consented to, or not fit: nothing was created.
        """
        await self._refuse_the_wrong_account()
        made = synthesise(self.platform, out=self.folder / "cdk.out", package=self.package)
        stacks = [s for s in stacks_of(made.folder, made.stacks) if not s.name.endswith("-edge")]
        deployer = Deployer(self.client, clock=self.clock, seconds_max=self.consent.seconds_max)
        try:
            async with asyncio.timeout(self.consent.seconds_max):
                for stack in stacks:
                    await self._step(f"deploy {stack.name}", partial(deployer.deploy, stack, change=self.change))
                await self._step("write key material", self._keys)
                for region in self.platform.region:
                    await self._step(f"one event in {region.name}", partial(self._event, region.aws))
        except EisbachError:
            pass  # it is a step of the result
        except TimeoutError:
            self.steps.append(Step("budget", False, self.consent.seconds_max, "the time that the budget pays is over"))
        finally:
            await _to_its_end(self._tear_down(deployer, stacks))
        return all(step.ok for step in self.steps) and not self.left

    def result(self, at: datetime) -> dict[str, Any]:
        """As it is written: dated, with every step and what is left."""
        return {
            "schema": "eisbach.aws-proof/1",
            "at": at.astimezone(UTC).isoformat(),
            "platform": self.platform.name,
            "regions": [region.aws for region in self.platform.region],
            "budget_usd": self.consent.budget_usd,
            "ok": all(step.ok for step in self.steps) and not self.left,
            "steps": [{"what": s.what, "ok": s.ok, "seconds": round(s.seconds, 1), "said": s.said} for s in self.steps],
            "left_standing": self.left,
        }

    def write(self, at: datetime) -> Path:
        """Into the folder, under its date."""
        path = self.folder / f"aws-proof-{at:%Y-%m-%d-%H%M%S}.json"
        path.write_text(json.dumps(self.result(at), indent=2) + "\n")
        return path

    async def _refuse_the_wrong_account(self) -> None:
        home = self.platform.region[0].aws
        with aws_errors("ask who we are", region=home):
            found = (await (await self.client("sts", home)).get_caller_identity())["Account"]
        if not found == self.consent.account == self.platform.account:
            raise Invalid(
                f"these credentials are of account {found}; EISBACH_AWS_ACCOUNT is {self.consent.account} and the "
                f"platform file says {self.platform.account}: all three must be the same; nothing was created"
            )
        if self.check_account and (wrong := await lacks(self.platform, self.client)):
            raise Invalid("the account is not fit, nothing was created: " + "; ".join(wrong))

    async def _step(self, what: str, do: Callable[[], Awaitable[str]]) -> None:
        begin = self.clock.monotonic_ms()
        said, ok = "", False
        try:
            said = await do()
            ok = True
        except EisbachError as error:
            said = str(error)
            raise
        except asyncio.CancelledError:
            said = "interrupted"
            raise
        finally:
            self.steps.append(Step(what, ok, (self.clock.monotonic_ms() - begin) / 1000, said))

    async def _keys(self) -> str:
        written = await put_key_material(self.platform, self.client, self.folder / "keys")
        return f"{len(written)} secrets"

    async def _event(self, region: str) -> str:
        """Published at the hub, it must leave the spokes' queues: handled, or set aside for a person."""
        name, prefix = self.platform.topic(), self.platform.name
        with aws_errors("publish an event", region=region):
            sns, sqs = await self.client("sns", region), await self.client("sqs", region)
            arn = f"arn:aws:sns:{region}:{self.platform.account}:{name}"
            await sns.publish(
                TopicArn=arn,
                Message="{}",
                MessageGroupId="proof",
                MessageDeduplicationId="proof-1",
                MessageAttributes={
                    "types": {"DataType": "String.Array", "StringValue": '["tv.ingest.asset.received.v1"]'}
                },
            )
            url = (await sqs.get_queue_url(QueueName=f"{prefix}-transcode.fifo"))["QueueUrl"]
            table = await self.client("dynamodb", region)
            late = self.clock.monotonic_ms() + _ARRIVES_S * 1000
            while self.clock.monotonic_ms() < late:
                await self.clock.sleep(2)
                found = await table.query(
                    TableName=self.platform.state_table(next(c for c in self.platform.cell if c.is_studio)),
                    KeyConditionExpression="pk = :pk AND begins_with(sk, :dead)",
                    ExpressionAttributeValues={":pk": {"S": "spoke/transcode"}, ":dead": {"S": "dead#"}},
                )
                if found["Items"]:
                    return f"an unreadable envelope went through {url} and was set aside, as it must be"
        raise Unavailable(f"the event did not reach its spoke in {region} within {_ARRIVES_S:.0f} s")

    async def _tear_down(self, deployer: Deployer, stacks: list[Stack]) -> None:
        begin = self.clock.monotonic_ms()
        await deployer.destroy(stacks)
        regions = list(dict.fromkeys(stack.region for stack in stacks))
        for region in regions:
            self.left += await self._delete_data(region)
        # Again: a stack whose creation was on its way when we were interrupted was not to be seen the first time.
        self.left += await deployer.destroy(stacks)
        seconds = (self.clock.monotonic_ms() - begin) / 1000
        self.steps.append(Step("tear down", not self.left, seconds, "; ".join(self.left)))

    async def _delete_data(self, region: str) -> list[str]:
        """Tables, buckets and log groups of this proof's own name, which stacks retain on purpose."""
        left: list[str] = []
        prefix = f"{self.platform.name}-"
        try:
            dynamodb, s3 = await self.client("dynamodb", region), await self.client("s3", region)
            with aws_errors("list what is left", region=region):
                pages = [page async for page in dynamodb.get_paginator("list_tables").paginate()]
                tables = [t for page in pages for t in page["TableNames"] if t.startswith(prefix)]
                buckets = [b["Name"] for b in (await s3.list_buckets())["Buckets"]]
        except EisbachError as error:  # the other regions' are deleted all the same
            return [str(error)]
        for table in tables:
            try:
                with aws_errors(f"delete table {table}", region=region):
                    await dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                    await self._at_rest(dynamodb, table)  # one that is being changed cannot be deleted
                    await dynamodb.delete_table(TableName=table)
            except EisbachError as error:
                left.append(str(error))
        left += await self._delete_groups(region)
        for bucket in [b for b in buckets if b.startswith(prefix) and f"-{_ours(self.platform, region)}-" in b]:
            try:
                with aws_errors(f"delete bucket {bucket}", region=region):
                    await _empty(s3, bucket)
                    await s3.delete_bucket(Bucket=bucket)
            except EisbachError as error:
                left.append(str(error))
        return left

    async def _delete_groups(self, region: str) -> list[str]:
        """Log groups that stacks retain: CloudFormation names them after the stack."""
        try:
            with aws_errors("delete log groups", region=region):
                logs = await self.client("logs", region)
                pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"{self.platform.name}-")
                for name in [group["logGroupName"] async for page in pages for group in page["logGroups"]]:
                    await logs.delete_log_group(logGroupName=name)
        except EisbachError as error:
            return [str(error)]
        return []

    async def _at_rest(self, dynamodb: Any, table: str) -> None:
        late = self.clock.monotonic_ms() + _AT_REST_S * 1000
        while (await dynamodb.describe_table(TableName=table))["Table"]["TableStatus"] != "ACTIVE":
            if self.clock.monotonic_ms() > late:
                raise Unavailable(f"table {table} is still being changed after {_AT_REST_S:.0f} s")
            await self.clock.sleep(2)


def _ours(platform: Platform, region: str) -> str:
    return next(r.name for r in platform.region if r.aws == region)


async def _empty(s3: Any, bucket: str) -> None:
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    async for page in pages:
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            await s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """However often this task is cancelled meanwhile: half of it must not be left standing. Only ``kill -9`` can."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
    running.result()
    if cancelled is not None:
        raise cancelled
