"""Is this account fit for this platform? Asked before anything is deployed; each lack is one clear sentence.

Promises: reads only; every region is asked, so that all that is wrong is told at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from eisbach.deploy.aws.deployer import Client, check_bootstrap
from eisbach.deploy.aws.errors import aws_errors
from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.kernel.errors import EisbachError, Invalid

__all__ = ["check_account", "lacks", "open_account"]


@asynccontextmanager
async def open_account(*, endpoint: Callable[[str], str] | None = None) -> AsyncIterator[Client]:
    """Clients by service and region with the credentials of the environment; ``endpoint``: region -> an emulator's."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3={"addressing_style": "path"} if endpoint else None,
    )
    async with AsyncExitStack() as stack:
        made: dict[tuple[str, str], Any] = {}

        async def client(service: str, region: str) -> Any:
            if (service, region) not in made:
                with aws_errors(f"open {service} in {region}", region=region):
                    opening = get_session().create_client(
                        service, region_name=region, endpoint_url=endpoint(region) if endpoint else None, config=config
                    )
                    made[service, region] = await stack.enter_async_context(opening)
            return made[service, region]

        yield client


async def lacks(platform: Platform, client: Client) -> list[str]:
    """What is wrong, a sentence each; empty: the account is fit.

    The first wrong thing that makes all else meaningless (no credentials, another account) is the only one told.
    """
    home = platform.region[0].aws
    try:
        await check_account(platform, client, home)
    except EisbachError as error:
        return [str(error)]
    places = dict.fromkeys([*(region.aws for region in platform.region), "us-east-1"])
    checks: list[Callable[[], Awaitable[None]]] = [
        *(partial(check_bootstrap, client, place) for place in places),
        *(partial(_has_certificate, client, region.aws, *_regional(platform, region)) for region in platform.region),
        partial(_has_certificate, client, "us-east-1", platform.dns.certificate, _cdn_names(platform)),
        partial(_has_zone, platform, client),
    ]
    found: list[str] = []
    for check in checks:
        try:
            await check()
        except EisbachError as error:
            found.append(str(error))
    return found


async def check_account(platform: Platform, client: Client, region: str) -> None:
    """The credentials are of the platform's account.

    Raises:
        Invalid: they are of another.
        Denied, Unavailable: AWS does not say.
    """
    with aws_errors("ask who we are", region=region):
        told = await (await client("sts", region)).get_caller_identity()
    if told["Account"] != platform.account:
        raise Invalid(
            f"these credentials are of account {told['Account']}, the platform file is for {platform.account}; "
            "set AWS_PROFILE to the right one"
        )


async def _has_zone(platform: Platform, client: Client) -> None:
    zone = platform.dns.zone_id
    with aws_errors(f"look for hosted zone {zone}", region="us-east-1"):
        told = await (await client("route53", "us-east-1")).get_hosted_zone(Id=zone)
    name = told["HostedZone"]["Name"].rstrip(".")
    if name != platform.dns.zone:
        raise Invalid(f"hosted zone {zone} is {name}, the platform file says {platform.dns.zone}")


def _regional(platform: Platform, region: Region) -> tuple[str, list[str]]:
    return platform.dns.regional_certificates[region.name], [platform.dns.regional(region.name), platform.dns.calls]


def _cdn_names(platform: Platform) -> list[str]:
    return [platform.dns.viewers, *(platform.dns.media(region.name) for region in platform.region)]


async def _has_certificate(client: Client, where: str, arn: str, names: Sequence[str]) -> None:
    with aws_errors(f"look at certificate {arn}", region=where):
        told = (await (await client("acm", where)).describe_certificate(CertificateArn=arn))["Certificate"]
    if told["Status"] != "ISSUED":
        raise Invalid(f"certificate {arn} is {told['Status']}, not ISSUED; finish its validation first")
    there = {told["DomainName"], *told.get("SubjectAlternativeNames", [])}
    lacking = [name for name in names if name not in there and f"*.{name.partition('.')[2]}" not in there]
    if lacking:
        raise Invalid(f"certificate {arn} is for {', '.join(sorted(there))}; it lacks {', '.join(lacking)}")
