"""Training: one loop for all methods, under one budget."""
