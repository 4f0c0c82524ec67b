"""The composition root: the only place that knows engines, settings and features together.

One module per process kind, each with ``async def run(process) -> None`` that serves until cancelled or SIGTERM.
"""
