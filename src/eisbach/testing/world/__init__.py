"""The simulated world: the production coroutines on one seeded loop in virtual time, over lossy links and mortal disks.

``run.simulate(seed)`` plays one seed and judges its history. What is simulated: time, chance, network, disks,
processes' deaths. What is not: cells, relay, pullers, spokes, the edge's rules, the store. docs/simulation.md.
"""
