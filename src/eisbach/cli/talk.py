"""Calls to the supervisor that runs: found by the data folder's lock, authorised by its operator token."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from eisbach.cell.unreached import unreached
from eisbach.deploy.laptop.ground import read_lock
from eisbach.kernel.errors import Invalid, NotFound, Unavailable

__all__ = ["Supervisor", "find"]

_WAIT_S = 30.0


class Supervisor:
    """The HTTP API of a running ``eisbach up``."""

    def __init__(self, facts: dict[str, Any], token: str) -> None:
        self.facts, self.token = facts, token
        self._url = str(facts["console"])

    def get(self, path: str, **query: str) -> Any:
        """A reading call."""
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self._call("GET", f"{path}{words}", None)

    def post(self, path: str, body: Any) -> Any:
        """A call that changes something."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - an http address from our own lock file
            f"{self._url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_WAIT_S) as answer:  # noqa: S310 - as above
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            sent = body is not None and not isinstance(getattr(error, "reason", None), ConnectionRefusedError)
            why = unreached(getattr(error, "reason", error))
            after = (
                "it may carry the request out yet: look with eisbach status, then try again" if sent else "try again"
            )
            raise Unavailable(
                f"the supervisor (pid {self.facts.get('pid')}) does not answer at {self._url}: {why}; {after}"
            ) from error


def _refusal(error: urllib.error.HTTPError) -> Exception:
    try:
        detail = str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"the supervisor answered {error.code}"
    if error.code == 404:
        return NotFound(detail)
    return Unavailable(detail) if error.code >= 500 else Invalid(detail)


def find(data: str) -> Supervisor:
    """The supervisor of a data folder.

    Raises:
        Unavailable: none runs, or its token cannot be read; the message says what to do.
    """
    root = Path(data).absolute()
    facts = read_lock(root)
    if facts is None:
        raise Unavailable(f"no platform is running on {root}; start it with eisbach up, or name its folder with --data")
    if "console" not in facts:
        raise Unavailable(
            f"a platform runs on {root}, but {root / 'lock'} does not say where it answers: it has just begun, or the"
            " file was removed; try again, else end eisbach up and start it again"
        )
    return Supervisor(facts, _token(root / "secrets" / "operator-token"))


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except FileNotFoundError as error:
        raise Unavailable(
            f"the operator's token {path} is not there, and without it the platform takes no command; put it back from"
            " a copy, or end eisbach up and start it again: it makes a new one"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unavailable(
            f"the operator's token {path} cannot be read: {why}; give commands as who started eisbach up,"
            " or mend the file"
        ) from error
    if not token:
        raise Unavailable(
            f"the operator's token {path} is empty, and without it the platform takes no command; put it back from a"
            " copy, or move the file away, end eisbach up and start it again: it makes a new one"
        )
    return token
