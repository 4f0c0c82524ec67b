"""Pure rules, one file a feature: they decide, the cell reads and writes.

Promises: no clock, no I/O, no randomness, no async; values in, values out.
May not know: ports' engines, HTTP, each other (``playback`` may use ``rights``, ``accounts`` and ``channels``).
"""
