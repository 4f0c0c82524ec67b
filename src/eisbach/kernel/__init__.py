"""The words that every part shares: ids, slots, versions, clocks, ops, events, errors, limits, routing.

Promises: pure, deterministic, no I/O, no clock and no randomness of its own.
May not know: ports, engines, features, processes, Python's asyncio.
"""
