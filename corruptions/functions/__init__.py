"""Corruptions, one file each: what `--corruptions` can name.

A corruption is a module whose docstring's first line says what it does, with one of

    apply(image, severity, random) -> image
        `image` is (H, W, C) uint8 with C = 3 (RGB) or 1 (gray), a copy; so is the result, of the same shape. `severity` is
        1 to 5. `random` is the numpy Generator of this image: its numbers depend on (seed, stream, corruption, severity,
        index of the image) alone, so draw from nothing else.
    into(images, out, draws, **constants)
        The same for a batch (n, H, W, C): fills `out`. What is drawn for image k must come from `draws.generator(k)`, or
        be a function of `draws.key` and `draws.indices[k]`. Called by several threads at once.

and optionally

    CONSTANTS: five mappings, one a severity; they are shown to the user, and given to `into`
    GROUP: str = "other"                    not one of the paper's groups, whose means are over their members alone
    VARIANTS: tuple[str, ...]               the corruption is then named NAME:VARIANT, and the function also gets `variant`
    LIBRARIES: tuple[str, ...]              distributions whose versions a record must hold

The nineteen of the paper define `into`; their constants stand in constants.json, and their groups in
`lcrbench.corruption_names`.
"""
