"""The key ceremony for AWS: the laptop's own, its documents put into each region's Secrets Manager.

Promises: made once in a folder of the owner's (0600), completed when a region is added; a secret that already has the
same value is not written again; no value is logged or told.
"""

import asyncio
from pathlib import Path

from eisbach.deploy.aws.deployer import Client
from eisbach.deploy.aws.errors import aws_errors
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.laptop.ceremony import ensure_operator_token, ensure_secrets

__all__ = ["put_key_material"]


async def put_key_material(platform: Platform, client: Client, folder: Path) -> list[str]:
    """Make or read the documents in ``folder``; the names of the secrets that were written.

    Raises:
        NotFound: a region's stack is not there yet: it makes the secrets.
        Denied, Unavailable, Invalid: as AWS says.
    """
    places = [(region.name, folder / region.name) for region in platform.region]

    def ceremony() -> None:
        ensure_secrets(places, operator_token=ensure_operator_token(folder))

    await asyncio.to_thread(ceremony)
    written: list[str] = []
    for region in platform.region:
        value = (folder / region.name / "secrets.json").read_text()
        manager = await client("secretsmanager", region.aws)
        for cell in platform.cells_of(region):
            name = f"{platform.name}/{region.name}/{cell.name}"
            with aws_errors(f"write secret {name}", region=region.aws):
                if (await manager.get_secret_value(SecretId=name)).get("SecretString") != value:
                    await manager.put_secret_value(SecretId=name, SecretString=value)
                    written.append(name)
    return written
