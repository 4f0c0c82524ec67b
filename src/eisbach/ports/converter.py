"""A service that encodes pictures between blobs, as AWS's MediaConvert does."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["Converter", "Seen"]


class Seen(NamedTuple):
    """How a job stands."""

    state: str
    """``running``, ``done``, ``failed`` or ``gone``."""
    share: float
    detail: str = ""


class Converter(Protocol):
    """A service that encodes; ``engines/aws/media_convert.py`` is one."""

    async def start(self, settings: Mapping[str, Any], *, token: str) -> str:
        """Begin a job; its id. The same token within a minute begins no second one."""
        ...

    async def look(self, job: str) -> Seen:
        """How it stands."""
        ...

    async def cancel(self, job: str) -> None:
        """End it; one that has ended is left alone."""
        ...
