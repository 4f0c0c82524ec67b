"""Engines: what stands behind the ports. ``embedded`` is SQLite and files; ``nats`` is JetStream.

Promises: each passes the promise suite of its port (``eisbach.testing``); no vendor's exception crosses this border.
May not know: the domain, each other.
"""
