"""Ways to run the platform; each turns settings into the process documents of ``settings.py``.

Promises: nothing below knows how it was deployed. May not know: the command line.
``laptop`` is the supervisor behind ``eisbach up``; ``aws`` is for AWS; ``burst`` rehearses where calls go.
"""
