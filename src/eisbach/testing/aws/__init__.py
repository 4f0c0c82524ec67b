"""Two AWS regions on this machine: ``emulator.AwsEmulator`` starts them, breaks them and stops them.

``inside``, ``replication`` and ``faults`` run in the emulator's own environment (``make .venv-aws``), which has
``ministack`` and nothing of ours: they may import the standard library and ``ministack`` only.
"""
