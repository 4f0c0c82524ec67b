"""NATS's exceptions, translated once at the border.

Promises: no exception of ``nats`` leaves ``engines.nats``. Most specific first, since they subclass one another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import nats.errors
import nats.js.errors

from eisbach.kernel.errors import EisbachError, OutcomeUnknown, Unavailable, VersionConflict

__all__ = ["nats_errors"]

_WRONG_LAST_SEQUENCE: Final = 10071
"""JSStreamWrongLastSequenceErrF of nats-server's ``errors.json``."""


@contextmanager
def nats_errors(doing: str, *, writes: bool = False) -> Iterator[None]:
    """Translate what is raised inside.

    Args:
        doing: what was asked, for the message.
        writes: a missing answer then means that the write may have happened.
    """
    try:
        yield
    except nats.js.errors.APIError as error:
        raise _of_api_error(doing, error) from error
    except (nats.js.errors.NoStreamResponseError, nats.errors.NoRespondersError) as error:
        raise Unavailable(f"{doing}: the hub has no such stream yet; try again") from error
    except (TimeoutError, nats.errors.TimeoutError) as error:
        # `asyncio.TimeoutError` is `TimeoutError` since Python 3.11; nats-py raises a subclass of it.
        if writes:
            raise OutcomeUnknown(f"{doing}: no answer from the hub; read the last sequence, then try again") from error
        raise Unavailable(f"{doing}: no answer from the hub; try again") from error
    except (nats.errors.Error, OSError) as error:
        raise Unavailable(f"{doing}: the hub cannot be reached ({error}); try again") from error


def _of_api_error(doing: str, error: nats.js.errors.APIError) -> EisbachError:
    if error.err_code == _WRONG_LAST_SEQUENCE:
        return VersionConflict(f"{doing}: somebody appended before ({error.description}); read the last sequence again")
    # Disk full (10047), resources short, consumer or stream gone: all pass or are repaired, none by the caller.
    return Unavailable(f"{doing}: the hub refused ({error.code}/{error.err_code} {error.description}); try again")
