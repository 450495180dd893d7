"""The harness: budgets, data, the training loop, evaluation, records. It knows no method by name."""
