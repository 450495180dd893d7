"""Lipschitz measurement for networks of signs: searches, bounds and estimates that the metrics `lipschitz_*` report."""
