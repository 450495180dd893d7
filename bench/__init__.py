"""The harness: budgets, data, the training loop, evaluation, records. It names no method."""
