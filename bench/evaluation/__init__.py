"""Evaluation: a network on clean and corrupted test images, always in float32 and in blocks of one size."""
