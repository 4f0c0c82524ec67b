"""A viewer that speaks only HTTP: signs in, writes, reads back; remembers every acknowledged write by id."""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from .platform import call


@dataclass
class Viewer:
    """One anonymous device. Calls go to one edge, as a client's first choice does."""

    edge: str
    device: str
    market: str = "de"
    token: str = ""
    slot: str = ""
    endpoints: list[dict[str, str]] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    last: Any = None
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def sign_in(self) -> "Viewer":
        status, _, answer = call(
            "POST", f"{self.edge}/v1/auth/anonymous", body={"device_id": self.device, "plat": "web", "mkt": self.market}
        )
        assert status == 200, (status, answer)
        self.token, self.slot, self.endpoints = answer["access"], answer["slot"], answer["endpoints"]
        return self

    def ask(
        self, method: str, path: str, body: Any = None, *, edge: str = "", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        return call(
            method,
            f"{edge or self.edge}{path}",
            body=body,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Eisbach-Slot": self.slot,
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
        )

    def write(self, *, edge: str = "") -> bool:
        """A progress write on a title of its own; True (and remembered) when it was acknowledged.

        As a client does, it tries again twice when told that it may (429 and 503 carry ``Retry-After``).
        """
        number = next(self.numbers)
        title = f"t-{self.device}-{number}"
        status = 0
        for _ in range(3):
            try:
                status, headers, self.last = self.ask(
                    "PUT", f"/v1/me/progress/{title}", {"pos_s": number, "dur_s": 30_000}, edge=edge
                )
            except OSError as error:
                self.last = error
                return False
            if "retry-after" not in headers:
                break
            time.sleep(0.2)
        if status in (200, 204):
            self.acknowledged[title] = number
        return status in (200, 204)

    def missing(self, *, edge: str = "") -> dict[str, int]:
        """Acknowledged writes that cannot be read back."""
        lost: dict[str, int] = {}
        for title, position in self.acknowledged.items():
            status, _, answer = self.ask("GET", f"/v1/me/progress/{title}", edge=edge)
            if status != 200 or answer["pos_s"] != position:
                lost[title] = position
        return lost
