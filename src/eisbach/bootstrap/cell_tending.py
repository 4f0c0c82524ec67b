"""What a store needs when nobody writes: held ops are applied once their time has come, and it is known whether its
disk takes writes, so that ``status`` tells what viewers would meet. May not know: what viewers call.
"""

import contextlib
from pathlib import Path
from typing import Final, cast

from eisbach.bootstrap.cell_ground import CellStore, Parts
from eisbach.bootstrap.older_copy import ProvableStore
from eisbach.cell.write_trial import WriteTrial, trial_of
from eisbach.kernel.errors import Retryable

__all__ = ["tend"]

_EVERY_S: Final = 0.5


def tend(parts: Parts, store: CellStore, *, cell: str) -> WriteTrial:
    """From now on; what the trial has found is read by whoever is asked how the cell is."""
    folder = Path(parts.process.folder)
    trial = trial_of(store, clock=parts.clock, disk=f"the disk of {folder}")

    def may_be_tried() -> bool:
        # DynamoDB has no disk of ours, and a store that may be an older copy of itself is not written to.
        return not parts.process.store and not cast("ProvableStore", store).unproved

    async def follow() -> None:
        while True:
            await parts.clock.sleep(_EVERY_S)
            with contextlib.suppress(Retryable):  # a full disk: they stay held, and the next turn tries again
                await store.release_held()
            if may_be_tried():
                await trial.look()

    parts.followers.start(f"release-{cell}", follow)
    return trial
