"""What the SDK of AWS raises, translated once at the border.

Promises: no exception of ``botocore`` or ``aiohttp`` leaves ``engines.aws``. What is refused before it is done
(throttled, not permitted) says so; what may have been done says that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from eisbach.kernel.errors import EisbachError, OutcomeUnknown, Overloaded, Unavailable

__all__ = ["aws_errors", "code_of", "reasons_of"]

_THROTTLED: Final = frozenset({
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException",
    "ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "SlowDown",
    "TransactionInProgressException", "TransactionConflictException", "OverLimit",
})  # fmt: skip
"""Refused before it was done."""
_NOT_PERMITTED: Final = frozenset({
    "AccessDenied", "AccessDeniedException", "AuthorizationError", "UnrecognizedClientException",
    "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "InvalidSignatureException",
    "SignatureDoesNotMatch", "KMS.AccessDeniedException", "KMSAccessDenied",
})  # fmt: skip


def code_of(error: ClientError) -> str:
    """AWS's word for it, without the older services' prefix."""
    return str(error.response.get("Error", {}).get("Code", "")).removeprefix("AWS.SimpleQueueService.")


def reasons_of(error: ClientError) -> Sequence[str]:
    """Of a cancelled transaction: a word for each of its items, ``None`` for those that were not the cause."""
    return [str(reason.get("Code")) for reason in error.response.get("CancellationReasons", ())]


@contextmanager
def aws_errors(doing: str, *, writes: bool = False) -> Iterator[None]:
    """Translate what is raised inside.

    Args:
        doing: what was asked, for the message.
        writes: a missing answer then means that the write may have happened.
    """
    try:
        yield
    except ClientError as error:
        raise _of_client_error(doing, error, writes=writes) from error
    except (BotoCoreError, HTTPClientError, OSError, TimeoutError) as error:
        raise _unanswered(doing, f"{type(error).__name__}: {error}", writes=writes) from error


def _of_client_error(doing: str, error: ClientError, *, writes: bool) -> EisbachError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
    if code in _THROTTLED or (code == "TransactionCanceledException" and set(reasons_of(error)) & _PASSING):
        return Overloaded(f"{doing}: AWS throttles ({said}); nothing was written, try again later")
    if code in _NOT_PERMITTED:
        return Unavailable(f"{doing}: AWS does not permit it ({said}); check the role of this process")
    if status >= 500:
        return _unanswered(doing, said, writes=writes)
    return Unavailable(f"{doing}: AWS refused ({said}); try again once it is mended")


_PASSING: Final = frozenset({"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"})


def _unanswered(doing: str, why: str, *, writes: bool) -> EisbachError:
    if writes:
        return OutcomeUnknown(f"{doing}: no answer from AWS ({why}); it may have been done, look before the next try")
    return Unavailable(f"{doing}: no answer from AWS ({why}); try again")
