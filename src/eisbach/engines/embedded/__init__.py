"""The embedded engine: SQLite and files. Laptops and hosts of one's own run it; tests use it as a verified fake.

May not know: the domain, other engines.
"""
