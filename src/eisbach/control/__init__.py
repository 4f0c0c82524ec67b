"""The control plane: reconcilers without input. The data plane never waits for it.

Built here: the slot map. Releases, moves, evacuation and region health come with their own issues.
May not know: processes, HTTP, the domain.
"""
