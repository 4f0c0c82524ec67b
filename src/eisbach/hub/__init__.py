"""The hub's moving parts: relay from a store to the event log, and the durable spokes that read it.

Promises: everything acknowledged by a store reaches every spoke that asked for it, at least once, effects once.
May not know: engines, cells, what any spoke does.
"""
