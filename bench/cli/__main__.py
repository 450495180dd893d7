"""`python -m lcrbench.bench.cli` is `lcrbench`."""

from lcrbench.bench.cli import main

main()
