"""Ways to run the platform; each turns settings into the process documents of ``settings.py``.

Promises: nothing below knows how it was deployed. May not know: the command line.
Today: ``laptop``, the supervisor behind ``eisbach up``. AWS and own hosts come beside it.
"""
