"""Transforms that augment training images, one file each; the file's name is the transform's name (`crop-flip`: crop_flip).

    @dataclass(frozen=True)
    class Transform(api.Transform):
        def draw(self, rng, n, size) -> np.ndarray: ...                   # int64 (n, k), once an epoch
        def apply(self, images, draws, size) -> Tensor: ...               # uint8 (N, H, W, 3), on the device

`lcrbench.bench.training.api.Transform` says what they get and return. Random numbers are drawn apart from their use,
by (seed, epoch, image index), so that all methods see the same images, whatever the batch and the device.
"""
