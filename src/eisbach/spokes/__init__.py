"""The built-in spokes: transcode, package, publish, media copies; and the worker that does their jobs.

Promises: the spoke host never opens foreign media; every step is asked for by an event and done by a command or a
leased job, so that a crash anywhere is a repetition and not a loss.
May not know: settings, engines' files, addresses.
"""
