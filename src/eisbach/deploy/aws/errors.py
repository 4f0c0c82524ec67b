"""AWS's refusals as one clear sentence each: what was asked, what was found, what to do.

Promises: no exception of botocore passes ``aws_errors``; what may work later is ``Unavailable``, all else ``Invalid``
or ``Denied``; no secret and no request id of AWS's is needed to act on the sentence.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore import exceptions as vendor

from eisbach.kernel.errors import Denied, EisbachError, Invalid, NotFound, Unavailable

__all__ = ["aws_errors", "sentence"]

_NOT_KNOWN: Final = {"UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "AuthFailure"}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_DENIED: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden"}
_SLOW: Final = {
    "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown",
    "ProvisionedThroughputExceededException", "ServiceUnavailable", "InternalError", "InternalFailure", "503", "500",
}  # fmt: skip
_OFF: Final = {"OptInRequired", "SubscriptionRequiredException", "InvalidRegion"}


@contextmanager
def aws_errors(doing: str, *, region: str) -> Iterator[None]:
    """Run AWS calls; ``doing`` says what for, e.g. ``"set the weights of rule r"``."""
    try:
        yield
    except (vendor.BotoCoreError, vendor.ClientError) as error:
        raise sentence(error, doing, region) from error


def sentence(error: Exception, doing: str, region: str) -> EisbachError:
    """The failure as one of ours."""
    if isinstance(error, vendor.NoCredentialsError | vendor.PartialCredentialsError | vendor.CredentialRetrievalError):
        return Invalid(f"{doing}: no AWS credentials; sign in (aws sso login) or set AWS_PROFILE, then repeat")
    if isinstance(error, vendor.ProfileNotFound | vendor.TokenRetrievalError | vendor.UnauthorizedSSOTokenError):
        return Invalid(f"{doing}: {error}; sign in (aws sso login) or set another AWS_PROFILE")
    if isinstance(error, vendor.NoRegionError | vendor.InvalidRegionError | vendor.UnknownRegionError):
        return Invalid(f"{doing}: {region!r} is no region of AWS; write it as in eu-central-1")
    if isinstance(error, vendor.ClientError):
        return _answered(error, doing, region)
    if isinstance(error, vendor.EndpointConnectionError | vendor.HTTPClientError | vendor.ConnectionError):
        return Unavailable(
            f"{doing}: {region} does not answer ({_short(error)}); a wrong region's name looks like this"
        )
    return Invalid(f"{doing}: {_short(error)}")


def _answered(error: vendor.ClientError, doing: str, region: str) -> EisbachError:
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "?")), " ".join(str(about.get("Message", "")).split())[:300]
    if code in _DENIED:
        return Denied(f"{doing}: {_permission(message, error.operation_name)}", code="aws_denied")
    if code in _EXPIRED:
        return Invalid(f"{doing}: the AWS session has expired; sign in again (aws sso login), then repeat")
    if code in _NOT_KNOWN:
        return Invalid(f"{doing}: AWS does not know these credentials in {region}; check AWS_PROFILE and the account")
    if code in _OFF:
        return Invalid(f"{doing}: region {region} is not switched on in this account; enable it or choose another")
    if code in _SLOW:
        return Unavailable(f"{doing}: {region} asks to slow down ({code}); nothing was changed, repeat later")
    if "NotFound" in code or "NoSuch" in code or "does not exist" in message:
        return NotFound(
            f"{doing}: not in {region} of this account: {message or code}; is it another region or account?"
        )
    return Invalid(f"{doing}: AWS answered {code}: {message}")


def _permission(message: str, operation: str) -> str:
    """AWS names who and what; without that, the operation is all there is to go by."""
    found = re.search(r"(arn:aws[\w-]*:(?:iam|sts)::\S+) is not authorized to perform: (\S+)", message)
    if found is None:
        return f"the role may not call {operation}; grant it (docs/aws.md lists every permission)"
    on = re.search(r"on resource: (\S+)", message)
    where = f" on {on[1]}" if on else ""
    return f"{found[1]} lacks the permission {found[2]}{where}; grant it (docs/aws.md lists every permission)"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
