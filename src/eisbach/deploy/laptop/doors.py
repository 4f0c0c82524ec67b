"""Who may call the console: hosts, origins, the operator token, one-time links and the sessions they open.

A page of another site must not be able to press the red button (CSRF), nor a name that was rebound to 127.0.0.1.
Pure but for the randomness that is passed in; bounded.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Collection

__all__ = ["COOKIE", "Doors"]

COOKIE = "eisbach_operator"
_KEPT_MAX = 64


class Doors:
    """The checks of one console."""

    def __init__(self, *, hosts: Collection[str], token: str, random_token: Callable[[], str]) -> None:
        """``hosts``: every ``Host`` under which the console may be addressed; ``token``: the operator's."""
        self._hosts = frozenset(hosts)
        self._token = token.encode()
        self._random = random_token
        self._tickets: OrderedDict[str, None] = OrderedDict()
        self._sessions: OrderedDict[str, None] = OrderedDict()

    def host_is_ours(self, host: str | None) -> bool:
        """Against DNS rebinding."""
        return host in self._hosts

    def origin_is_ours(self, origin: str | None) -> bool:
        """Against other sites' pages; no origin is a program, not a page."""
        return origin is None or (origin.startswith("http://") and origin.removeprefix("http://") in self._hosts)

    def is_operator(self, *, authorization: str | None, cookie: str | None) -> bool:
        """The operator's token as Bearer, or a session's cookie."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme == "Bearer" and token and hmac.compare_digest(token.encode(), self._token):
            return True
        return cookie is not None and cookie in self._sessions

    def ticket(self) -> str:
        """A token for a link that works once; the oldest of more than 64 unused ones is dropped."""
        return self._keep(self._tickets)

    def exchange(self, ticket: str) -> str | None:
        """A session for a ticket, which is thereby used up; None for a wrong one."""
        if ticket not in self._tickets:
            return None
        del self._tickets[ticket]
        return self._keep(self._sessions)

    def _keep(self, kept: OrderedDict[str, None]) -> str:
        token = self._random()
        kept[token] = None
        while len(kept) > _KEPT_MAX:
            kept.popitem(last=False)
        return token
