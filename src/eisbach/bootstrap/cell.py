"""``eisbach run cell``: being written by the cell's builder (also engines/embedded/confinement.py, tests/cell/*)."""
