"""``python -m eisbach.cli``: the command line, for those whose PATH does not have it."""

from eisbach.cli import main

main()
