"""What every engine of ``ports.store`` promises, as tests to inherit from.

Give a fixture ``host`` that satisfies ``store_host.StoreHost``, and inherit ``StorePromises``. Not held here, since
only the engine's own tests can break its disk: survival of kill -9 and of power loss at every durable step.
"""

from eisbach.testing.store_host import StoreHost
from eisbach.testing.store_log_promises import LogPromises
from eisbach.testing.store_loser_promises import LoserPromises
from eisbach.testing.store_memory_promises import MemoryPromises
from eisbach.testing.store_merge_promises import MergePromises
from eisbach.testing.store_write_promises import WritePromises

__all__ = ["StoreHost", "StorePromises"]


class StorePromises(WritePromises, LogPromises, MergePromises, LoserPromises, MemoryPromises):
    """All of them."""
