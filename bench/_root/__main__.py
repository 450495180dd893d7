"""`python -m lcrbench` is `lcrbench`."""

from lcrbench.bench.cli import main

main()
