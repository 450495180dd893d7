"""The embedded default data: 10,000 + 2,000 images of Fashion-MNIST as idx.gz (MIT licence: see NOTICE).

`tools/make_fashion_subset.py` makes these files; `lcrbench.bench.data.load()` reads them and checks their hashes.
"""
