"""The key ceremony for AWS: the laptop's own, its documents put into each region's Secrets Manager.

The CDN judges media tokens itself, so it is given their keys, and no others.

Promises: made once in a folder of the owner's (0600), completed when a region is added; a secret that already has the
same value is not written again; no value is logged or told. Nothing is written into another account, nor over the key
material of another ceremony: a wrong folder would end every session and make the backups unreadable.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from eisbach.deploy.aws.account import check_account
from eisbach.deploy.aws.deployer import Client
from eisbach.deploy.aws.errors import aws_errors
from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.laptop.ceremony import ensure_secrets, keep_operator_token, operator_token
from eisbach.kernel.errors import Invalid
from eisbach.settings import Secrets

__all__ = ["put_key_material", "put_media_keys"]

_MEDIA_KEYS: Final = "media-keys"
"""The entry that the CDN's function reads (stacks/delivery.js)."""
_CDN: Final = "us-east-1"


async def put_key_material(platform: Platform, client: Client, folder: Path) -> list[str]:
    """Make or read the documents in ``folder``; the names of the secrets that were written.

    Raises:
        NotFound: a region's stack is not there yet: it makes the secrets.
        Invalid: the credentials are of another account, or a secret holds other keys than ``folder``; nothing was
            written.
        Denied, Unavailable, Invalid: as AWS says.
    """
    places = [(region.name, folder / region.name) for region in platform.region]

    def ceremony() -> None:
        keep_operator_token(folder, token := operator_token(folder))
        ensure_secrets(places, operator_token=token)

    await check_account(platform, client, platform.region[0].aws)
    await asyncio.to_thread(ceremony)
    wanted: list[tuple[Any, Region, str, str]] = []
    for region in platform.region:
        value = (folder / region.name / "secrets.json").read_text()
        manager = await client("secretsmanager", region.aws)
        for cell in platform.cells_of(region):
            name = f"{platform.name}/{region.name}/{cell.name}"
            with aws_errors(f"read secret {name}", region=region.aws):
                there = (await manager.get_secret_value(SecretId=name)).get("SecretString", "")
            if there != value:
                _refuse_others(name, there, value)
                wanted.append((manager, region, name, value))
    for manager, region, name, value in wanted:
        with aws_errors(f"write secret {name}", region=region.aws):
            await manager.put_secret_value(SecretId=name, SecretString=value)
    return [name for _, _, name, _ in wanted]


async def put_media_keys(platform: Platform, client: Client, folder: Path) -> bool:
    """Give the CDN the keys of media tokens that the ceremony in ``folder`` made; False: it had them.

    After ``put_key_material``, which makes them. The call is signed for all regions at once, which needs ``awscrt``.

    Raises:
        NotFound: the edge's stack is not there yet: it makes the store.
        Invalid: somebody else wrote the store meanwhile; nothing was written.
        Denied, Unavailable, Invalid: as AWS says.
    """
    ours = msgspec.json.decode((folder / platform.region[0].name / "secrets.json").read_bytes(), type=Secrets)
    value = msgspec.json.encode(ours.media_keys, order="sorted").decode()
    name = platform.media_keys()
    with aws_errors(f"look for the CDN's store {name}", region=_CDN):
        told = await (await client("cloudfront", _CDN)).describe_key_value_store(Name=name)
    arn, store = told["KeyValueStore"]["ARN"], await client("cloudfront-keyvaluestore", _CDN)
    with aws_errors(f"write the CDN's store {name}", region=_CDN):
        # The tag first: what is written between it and the update makes the update fail.
        tag = (await store.describe_key_value_store(KvsARN=arn))["ETag"]
        if await _kept(store, arn) == value:
            return False
        await store.update_keys(KvsARN=arn, IfMatch=tag, Puts=[{"Key": _MEDIA_KEYS, "Value": value}])
    return True


async def _kept(store: Any, arn: str) -> str | None:
    try:
        told = await store.get_key(KvsARN=arn, Key=_MEDIA_KEYS)
    except store.exceptions.ResourceNotFoundException:
        return None
    found: str = told["Value"]
    return found


def _refuse_others(name: str, there: str, ours: str) -> None:
    """A stack's own placeholder is no key material; the backup key of a ceremony is never changed."""
    try:
        old = msgspec.json.decode(there, type=Secrets).backup_key
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if old and old != msgspec.json.decode(ours, type=Secrets).backup_key:
        raise Invalid(
            f"secret {name} holds the keys of another ceremony; give the --folder in which that was made. "
            "Nothing was written: other keys end every session and leave the backups unreadable"
        )
