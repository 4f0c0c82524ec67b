"""The embedded engine: SQLite and files. It is what a laptop and a host of one's own run, and the verified fake in tests.

May not know: the domain, other engines.
"""
