"""Global tables as DynamoDB really replicates them (MREC): later, item by item, in any order, last writer wins.

Promises: a write is seen in another region after the lag that was set, or when the link between the two is healed; the
items of one transaction arrive apart; of two writes of one key the later stays in both regions. What is emulated and
what is not: the clock of the last writer is this machine's; replica writes check no conditions, as on AWS.
Patches a private function of ministack 1.5.33, whose own replication is immediate; refuses any other version.
May not know: Eisbach. Runs in the emulator's environment.
"""

import copy
import heapq
import itertools
import random
import threading
import time
from pathlib import Path
from typing import Any, Final

from ministack.services import dynamodb

__all__ = ["Replication"]

_VERSION: Final = "1.5.33"
_PAUSE_S: Final = 0.005


class Replication:
    """The links between all regions."""

    def __init__(self) -> None:
        """``install`` puts it in place of ministack's own."""
        self._lag_s = self._spread_s = 0.0
        self._cut: set[frozenset[str]] = set()
        self._queue: list[tuple[float, int, dict[str, Any]]] = []
        self._numbers = itertools.count()
        self._rng = random.Random(0)  # noqa: S311 - the order in which items arrive, not a secret
        self._versions: dict[tuple[Any, ...], tuple[float, str]] = {}
        self._lock = threading.RLock()
        self._counts = {"sent": 0, "applied": 0, "dropped": 0}

    def install(self) -> None:
        """Replace ministack's replication and begin to pump.

        Raises:
            RuntimeError: another ministack than the one this was written for.
        """
        folder = Path(dynamodb.__file__).parents[2] / f"ministack-{_VERSION}.dist-info"
        if not folder.is_dir() or not hasattr(dynamodb, "_replicate_write"):
            raise RuntimeError(f"no {folder}; ministack's replication is only known for {_VERSION}")
        dynamodb._replicate_write = self._send
        threading.Thread(target=self._pump, daemon=True, name="replication").start()

    def set_lag(self, seconds: float, *, spread: float, seed: int) -> None:
        """How long a write is under way: ``seconds`` and up to ``spread`` more, chosen from ``seed`` item by item."""
        with self._lock:
            self._lag_s, self._spread_s, self._rng = seconds, spread, random.Random(seed)  # noqa: S311

    def set_link(self, one: str, other: str, *, up: bool) -> None:
        """Cut or heal the link between two regions; what was written meanwhile arrives after the heal."""
        with self._lock:
            (self._cut.discard if up else self._cut.add)(frozenset((one, other)))

    def forget(self) -> None:
        """Everything as at the start: for the next test."""
        with self._lock:
            self._lag_s = self._spread_s = 0.0
            self._cut.clear()
            self._queue.clear()
            self._versions.clear()
            self._counts = dict.fromkeys(self._counts, 0)

    def statistics(self) -> dict[str, Any]:
        """Counts since start or ``forget``, and what is under way."""
        with self._lock:
            return {
                "lag_s": self._lag_s,
                "cut": sorted(map(sorted, self._cut)),
                "queued": len(self._queue),
            } | self._counts

    def _send(self, table: dict[str, Any], _event: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        regions = dynamodb._replica_group(table)
        if not regions:
            return
        account, home, name = dynamodb.get_account_id(), dynamodb.get_region(), table["TableName"]
        key = _key(table, new if new is not None else old)
        with self._lock:
            version = (time.time(), home)
            self._versions[account, home, name, key] = version
            for region in regions:
                if region != home:
                    due = time.monotonic() + self._lag_s + self._rng.uniform(0, self._spread_s)
                    write = {
                        "account": account, "home": home, "region": region, "table": name,
                        "key": key, "version": version, "item": copy.deepcopy(new),
                    }  # fmt: skip
                    heapq.heappush(self._queue, (due, next(self._numbers), write))
                    self._counts["sent"] += 1

    def _pump(self) -> None:
        while True:
            time.sleep(_PAUSE_S)
            with self._lock:
                held = []
                while self._queue and self._queue[0][0] <= time.monotonic():
                    due, number, write = heapq.heappop(self._queue)
                    if frozenset((write["home"], write["region"])) in self._cut:
                        held.append((due, number, write))
                    else:
                        self._apply(write)
                for entry in held:
                    heapq.heappush(self._queue, entry)

    def _apply(self, write: dict[str, Any]) -> None:
        region, table, key, item = write["region"], write["table"], write["key"], write["item"]
        with dynamodb.request_scope(write["account"], region):
            there = dynamodb._tables.get(table)
            place = (write["account"], region, table, key)
            if there is None:
                return
            if self._versions.get(place, (0.0, "")) >= write["version"]:
                self._counts["dropped"] += 1
                return
            self._versions[place] = write["version"]
            before = there["items"].get(key[0], {}).get(key[1])
            if item is not None:
                dynamodb._set_item(there, *key, item)
            elif before is not None:
                dynamodb._remove_item(there, *key)
            else:
                return
            self._counts["applied"] += 1
            event = "REMOVE" if item is None else "MODIFY" if before else "INSERT"
            dynamodb._emit_stream_event(table, event, before, copy.deepcopy(item), replicate=False)


def _key(table: dict[str, Any], item: Any) -> tuple[Any, Any]:
    value = dynamodb._extract_key_val
    return value(item.get(table["pk_name"])), value(item.get(table["sk_name"])) if table["sk_name"] else "__no_sort__"
