"""Presets: comparisons written out as .toml files, whose first line describes them."""
