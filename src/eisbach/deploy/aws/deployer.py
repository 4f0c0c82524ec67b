"""Deploys synthesised templates over CloudFormation's API: assets up, stacks created or updated in order, and deleted.

For the emulator and for ``make aws-proof``; people deploy with the CDK's own command line (docs/aws.md).
Promises: a stack that fails leaves the one before it serving (CloudFormation rolls it back) and the reason of the first
failed resource is in the error; deleting goes backwards and goes on after a failure, so that as much as can be is gone.
"""

import io
import json
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from eisbach.deploy.aws.errors import aws_errors
from eisbach.kernel.errors import EisbachError, Invalid, Unavailable
from eisbach.ports.clock import Clock

__all__ = ["BOOTSTRAP", "Deployer", "Stack", "check_bootstrap", "stacks_of"]

BOOTSTRAP: Final = "/cdk-bootstrap/hnb659fds/version"
_BOOTSTRAP_LEAST: Final = 6
_POLL_S: Final = 2.0
_CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
Client = Callable[[str, str], Awaitable[Any]]
"""(service, region) -> a client of aiobotocore, kept open by who gives it."""
Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stack:
    """One synthesised stack."""

    name: str
    region: str
    account: str
    folder: Path

    @property
    def template(self) -> dict[str, Any]:
        """As written by the synthesis."""
        found: dict[str, Any] = json.loads((self.folder / f"{self.name}.template.json").read_text())
        return found


def stacks_of(folder: Path, order: Sequence[str]) -> list[Stack]:
    """The stacks of a synthesis, in ``order``."""
    manifest = json.loads((folder / "manifest.json").read_text())
    found = []
    for name in order:
        environment = manifest["artifacts"][name]["environment"].removeprefix("aws://")
        account, region = environment.split("/")
        found.append(Stack(name=name, region=region, account=account, folder=folder))
    return found


async def check_bootstrap(client: Client, region: str) -> None:
    """The account is prepared for the CDK in this region.

    Raises:
        Invalid: it is not, or by a version that is too old; the message has the command.
        Denied, Unavailable: AWS does not let itself be asked.
    """
    with aws_errors(f"look for the CDK's bootstrap in {region}", region=region):
        ssm = await client("ssm", region)
        try:
            found = await ssm.get_parameter(Name=BOOTSTRAP)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ParameterNotFound":
                raise
            account = (await (await client("sts", region)).get_caller_identity())["Account"]
            raise Invalid(
                f"account {account} is not bootstrapped for the CDK in {region}; "
                f"run: npx aws-cdk@2.1148.1 bootstrap aws://{account}/{region}"
            ) from error
    version = int(found["Parameter"]["Value"])
    if version < _BOOTSTRAP_LEAST:
        raise Invalid(
            f"the CDK's bootstrap in {region} is version {version}, too old; it must be {_BOOTSTRAP_LEAST} or newer"
        )


class Deployer:
    """One account, any region."""

    def __init__(self, client: Client, *, clock: Clock, seconds_max: float = 1_800.0) -> None:
        """``seconds_max``: how long one stack may take."""
        self._client, self._clock, self._seconds_max = client, clock, seconds_max

    async def deploy(self, stack: Stack, *, change: Change | None = None, parameters: Mapping[str, str] = {}) -> str:
        """Upload the assets, create or update the stack, wait; its last status.

        ``change`` alters the template before it is sent: what an emulator does not know.

        Raises:
            Invalid: it was rolled back; the message has the first reason.
            Unavailable: it did not end in time, or AWS does not answer.
        """
        template = stack.template if change is None else change(stack.template)
        await self.upload(stack)
        url = await self._put_template(stack, template)
        arguments = {
            "StackName": stack.name,
            "TemplateURL": url,
            "Capabilities": _CAPABILITIES,
            "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
            "Tags": [{"Key": "platform", "Value": stack.name.split("-")[0]}],
        }
        with aws_errors(f"deploy {stack.name}", region=stack.region):
            cloudformation = await self._client("cloudformation", stack.region)
            if await self.status(stack) is None:
                await cloudformation.create_stack(**arguments, OnFailure="ROLLBACK")
            else:
                try:
                    await cloudformation.update_stack(**arguments)
                except ClientError as error:
                    if "No updates" in str(error):
                        return "UNCHANGED"
                    raise
        return await self._settled(stack, "deploy")

    async def destroy(self, stacks: Sequence[Stack]) -> list[str]:
        """Delete them, the last first; what could not be deleted, a line each."""
        left: list[str] = []
        for stack in reversed(stacks):
            try:
                if await self.status(stack) is None:
                    continue
                with aws_errors(f"delete {stack.name}", region=stack.region):
                    cloudformation = await self._client("cloudformation", stack.region)
                    await cloudformation.update_termination_protection(
                        StackName=stack.name, EnableTerminationProtection=False
                    )
                    await cloudformation.delete_stack(StackName=stack.name)
                if (status := await self._settled(stack, "delete")) != "DELETE_COMPLETE":
                    raise Unavailable(f"delete {stack.name} in {stack.region}: it is {status}")
            except EisbachError as error:
                left.append(str(error))
        return left

    async def status(self, stack: Stack) -> str | None:
        """Of the stack; None: there is none."""
        with aws_errors(f"look at {stack.name}", region=stack.region):
            cloudformation = await self._client("cloudformation", stack.region)
            try:
                found = await cloudformation.describe_stacks(StackName=stack.name)
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        status = str(found["Stacks"][0]["StackStatus"])
        return None if status == "DELETE_COMPLETE" else status

    async def outputs(self, stack: Stack) -> dict[str, str]:
        """Of a stack that exists."""
        with aws_errors(f"read the outputs of {stack.name}", region=stack.region):
            cloudformation = await self._client("cloudformation", stack.region)
            found = (await cloudformation.describe_stacks(StackName=stack.name))["Stacks"][0]
        return {row["OutputKey"]: row["OutputValue"] for row in found.get("Outputs", [])}

    async def upload(self, stack: Stack) -> None:
        """Assets into the bootstrap's bucket; one that is there by its digest is not sent again."""
        assets = json.loads((stack.folder / f"{stack.name}.assets.json").read_text())
        for asset in assets["files"].values():
            source = stack.folder / asset["source"]["path"]
            for place in asset["destinations"].values():
                body = _zipped(source) if asset["source"]["packaging"] == "zip" else source.read_bytes()
                await self._put(stack, place["bucketName"], place["objectKey"], body)

    async def _put_template(self, stack: Stack, template: Mapping[str, Any]) -> str:
        """By address: a template in the call itself may have 51,200 bytes only."""
        assets = json.loads((stack.folder / f"{stack.name}.assets.json").read_text())
        bucket = next(iter(next(iter(assets["files"].values()))["destinations"].values()))["bucketName"]
        key = f"{stack.name}.template.json"
        s3 = await self._put(stack, bucket, key, json.dumps(template).encode())
        return f"{s3.meta.endpoint_url}/{bucket}/{key}"

    async def _put(self, stack: Stack, bucket: str, key: str, body: bytes) -> Any:
        with aws_errors(f"upload {key} to {bucket}", region=stack.region):
            s3 = await self._client("s3", stack.region)
            await s3.put_object(Bucket=bucket, Key=key, Body=body)
        return s3

    async def _settled(self, stack: Stack, doing: str) -> str:
        late = self._clock.monotonic_ms() + self._seconds_max * 1000
        while True:
            status = await self.status(stack)
            if status is None or not status.endswith("_IN_PROGRESS"):
                break
            if self._clock.monotonic_ms() > late:
                raise Unavailable(f"{doing} {stack.name}: still {status} after {self._seconds_max:.0f} s")
            await self._clock.sleep(_POLL_S)
        if status is not None and ("ROLLBACK" in status or "FAILED" in status):
            raise Invalid(f"{doing} {stack.name} in {stack.region}: {status}; {await self._first_reason(stack)}")
        return status or "DELETE_COMPLETE"

    async def _first_reason(self, stack: Stack) -> str:
        with aws_errors(f"read the events of {stack.name}", region=stack.region):
            cloudformation = await self._client("cloudformation", stack.region)
            events: list[dict[str, Any]] = []
            async for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack.name):
                events += page["StackEvents"]
            if any("DescribeEvents" in str(event.get("ResourceStatusReason")) for event in events):
                found = (await cloudformation.describe_events(StackName=stack.name))["OperationEvents"]
                told = [f"{e.get('LogicalResourceId')}: {r}" for e in found if (r := e.get("ValidationStatusReason"))]
                if told:
                    return "; ".join(told)[:800]
        for event in reversed(events):
            reason = str(event.get("ResourceStatusReason") or "")
            if event["ResourceStatus"].endswith("FAILED") and "cancelled" not in reason:
                return f"{event['LogicalResourceId']} ({event['ResourceType']}): {reason[:400]}"
        return "CloudFormation names no reason"


def _zipped(folder: Path) -> bytes:
    """Equal folders, equal bytes."""
    if folder.is_file():
        return folder.read_bytes()
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return body.getvalue()
