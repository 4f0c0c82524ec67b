"""The burst controller on traces of load, before it steers money: ``eisbach burst rehearse``. See ``docs/burst.md``.

Promises: the controller of ``control.burst`` itself decides; only the platforms under it are modelled. Pure.
May not know: AWS's API, the network.
"""
