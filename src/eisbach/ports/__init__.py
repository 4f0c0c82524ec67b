"""What Eisbach needs from engines, and what a spoke is: Protocols and their records only.

Promises: every port has one promise suite in ``eisbach.testing``, held by every engine.
May not know: any engine, any feature, any I/O.
"""
