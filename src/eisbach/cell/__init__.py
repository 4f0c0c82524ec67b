"""The cell: a complete, isolated copy of the service for some viewers, and the studio that editors and spokes write to.

Takes calls for its slots: one transaction = items + op log. Pulls its twins' logs, projects the catalogue, speaks HTTP.
Promises: nothing is acknowledged before it is on disk; a slot that is not its own is refused with the owner (421).
May not know: other cells' insides, the edge, media tools, which engine keeps its data.
"""
