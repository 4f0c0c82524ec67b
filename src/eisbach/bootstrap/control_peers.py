"""How a region's control process asks that of another whether it serves: through the other region's peer door.

The way is the one that cells pull through, so a cut between the regions cuts it too. Promises: every failure is an
EisbachError that says what was asked. May not know: what follows from the answer.
"""

from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec

from eisbach.bootstrap.control_client import told
from eisbach.cell.unreached import unreached
from eisbach.control.leaving import Standing
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.settings import PeerRegion

__all__ = ["STANDING_PATH", "PeerControls"]

STANDING_PATH: Final = "/peer/standing"
_ANSWER_S: Final = 4.0
"""The other one looks at the lease of each of its slots before it answers."""
_ANSWER_BYTES_MAX: Final = 1024 * 1024
"""It may name every slot."""


class PeerControls:
    """One a control process; a connection a question, since it is asked once an evacuation."""

    def __init__(self, peers: Sequence[PeerRegion], *, token: str) -> None:
        """``token``: the peers' own."""
        self._doors = {peer.region: peer.door.rstrip("/") for peer in peers}
        self._headers = {"Authorization": f"Bearer {token}"}

    async def standing(self, region: str) -> Standing:
        """What that region's control says of itself.

        Raises:
            Invalid: no such region is known here.
            Unavailable: it does not say.
        """
        if region not in self._doors:
            known = ", ".join(sorted(self._doors)) or "none"
            raise Invalid(f"region {region[:40]!r} has no peer door that this one knows; known are: {known}")
        url = f"{self._doors[region]}{STANDING_PATH}"
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.get(url) as answer,
            ):
                said = b""
                async for piece in answer.content.iter_any():
                    said += piece
                    if len(said) > _ANSWER_BYTES_MAX:
                        raise Unavailable(f"{url} answers with more than {_ANSWER_BYTES_MAX} bytes")
                if answer.status != 200:
                    raise Unavailable(f"{url} answered {answer.status}: {told(said)}")
            found = msgspec.json.decode(said, type=Standing)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{url} cannot be reached: {unreached(error)}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{url} does not answer as a region does: {error}") from error
        if found.region != region:
            raise Unavailable(f"{url} is answered by region {found.region[:40]!r}; its door was asked for {region}")
        return found
