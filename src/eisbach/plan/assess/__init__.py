"""``eisbach assess``: what an existing system is made of, what takes it down, and what to do first.

Reads what a team already has (compose files, manifests, templates, plans, traces) into one typed graph, each fact with
the file and line it came from; then asks the graph. Executes and fetches nothing, guesses nothing: what no file says
is listed as unknown.

The flow: ``sources`` (which files) → ``documents`` (bounded, with lines) → ``readers`` (facts) → ``build`` (one graph)
→ ``analyses`` (findings) → ``reports`` (terminal, HTML, JSON, SARIF, Mermaid, experiments).
"""
