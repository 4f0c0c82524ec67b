"""Key material from Secrets Manager, read once a sandbox; never logged, never in the environment."""

import msgspec

from eisbach.engines.aws.errors import aws_errors
from eisbach.kernel.errors import Invalid
from eisbach.settings import Secrets

__all__ = ["read_secrets"]


async def read_secrets(name: str, *, region: str) -> Secrets:
    """The ``Secrets`` document in the secret ``name``.

    Raises:
        Unavailable: AWS does not give it.
        Invalid: it is not written yet, or no such document; the value is not in the message.
    """
    from aiobotocore.session import get_session

    async with get_session().create_client("secretsmanager", region_name=region) as client:
        with aws_errors(f"read secret {name}"):
            found = await client.get_secret_value(SecretId=name)
    try:
        return msgspec.json.decode(found["SecretString"], type=Secrets)
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"secret {name} holds no key material; eisbach deploy secrets writes it") from error
