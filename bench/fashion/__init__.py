"""The embedded default data: 10,000 + 2,000 images of Fashion-MNIST as idx.gz (MIT licence: see NOTICE).

`tools/make_fashion_subset.py` makes these files; `lcrbench.bench.data.load()` reads them and checks their hashes.
"""

from __future__ import annotations

from typing import Final

CLASSES: Final = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# Of the four files of the full set, uncompressed, because two programs gzip the same content differently.
FULL_SHA256: Final = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "test-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "test-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
