"""Entry points of functions and tasks, one a trigger: calls, queues, streams and schedules, a container.

Composition roots: each reads its document once, opens what it needs once a sandbox, and keeps it while that is warm.
Promises: whatever a platform's process does, the same code does here; what could not be done in time comes again.
Imported by AWS by name (``eisbach.deploy.aws.handlers.spoke.handle``); nothing is opened at import.
"""
