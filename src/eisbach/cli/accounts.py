"""What ``backup``, ``restore`` and ``erase`` share: which running cell to ask, on this laptop."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any

from eisbach.cli.talk import Supervisor
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Unavailable

__all__ = ["ask_cell", "ask_owners", "cells", "time_ms"]

_WAIT_S = 60.0
_ELSEWHERE = "account_elsewhere"


def time_ms(text: str) -> int:
    """A time as people write it: ISO 8601 (UTC when it names no zone), or milliseconds since 1970.

    Raises:
        Invalid: neither.
    """
    if text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"--at {text!r} is no time; write it as 2026-11-25T20:15:07 or 2026-11-25T21:15:07+01:00"
        ) from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def cells(supervisor: Supervisor) -> dict[str, str]:
    """Target -> address of every running cell that has viewers.

    Raises:
        Unavailable: there is none.
    """
    status = supervisor.get("/ops/status")
    viewers = {f"cell/{cell['id']}" for cell in status["cells"] if not cell["group"].startswith("any/")}
    found = {
        process["target"]: process["url"]
        for process in status["processes"]
        if process["target"] in viewers and process["url"] and process["state"] == "ready"
    }
    if not found:
        raise Unavailable("no cell with viewers is ready; see eisbach status")
    return found


def ask_cell(url: str, path: str, body: Any, *, token: str) -> Any:
    """Post to a cell as an operator.

    Raises:
        NotFound: the cell does not have it.
        Invalid: it refused.
        Unavailable: it does not answer.
    """
    request = urllib.request.Request(  # noqa: S310 - an http address that the supervisor gave
        f"{url}{path}",
        data=json.dumps(body).encode(),
        method="POST",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_WAIT_S) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise _refusal(error, url) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{url} does not answer: {error}; see eisbach status") from error


def ask_owners(supervisor: Supervisor, account: str, action: str, body: Any) -> dict[str, Any]:
    """Ask cell after cell until one owns the account and takes the call: target -> its answer, one of them.

    Raises:
        NotFound: no cell has it, or the one that has it has nothing to give.
        Unavailable: none has it of those that answer.
    """
    said: dict[str, EisbachError] = {}
    for target, url in cells(supervisor).items():
        path = f"/ops/accounts/{urllib.parse.quote(account, safe='')}/{action}"
        try:
            return {target: ask_cell(url, path, body, token=supervisor.token)}
        except (NotFound, Unavailable) as error:
            if error.code != _ELSEWHERE:
                said[target] = error
    if silent := [f"{target}: {error}" for target, error in said.items() if isinstance(error, Unavailable)]:
        raise Unavailable(f"account {account!r} may be in a cell that cannot say so now; {'; '.join(silent)}")
    if said:
        raise NotFound(str(next(iter(said.values()))))
    raise NotFound(f"no cell here has an account {account[:60]!r}; is it its id? events carry it: eisbach events tail")


def _refusal(error: urllib.error.HTTPError, url: str) -> EisbachError:
    try:
        problem = json.loads(error.read())
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        code = NotFound.code
        detail = f"{url} answered {error.code}"
    if error.code == 404:
        found = NotFound(detail)
        found.code = code
        return found
    return Unavailable(detail) if error.code >= 500 else Invalid(detail)
