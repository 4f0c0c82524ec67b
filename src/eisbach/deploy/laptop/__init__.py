"""The whole platform on one machine: what runs where, and the supervisor that runs and breaks it.

Promises: every process is a real one, reached over loopback addresses only; regions share nothing but links; stopping
leaves no process behind, however the supervisor ends.
May not know: what the processes do inside (it sees pids, ports, ``/readyz`` and ``/status``), the command line.
"""
