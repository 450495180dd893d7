"""Network topologies, one file each; the file's name is the backbone's name.

A backbone is a function `build(method, classes, size) -> nn.Module` from normalized images (N, 3, size, size) to logits
(N, classes). Keyword arguments with defaults are its options (`resnet18:shortcut=binary,convs=2`); the harness records every
one. `build` raises `ValueError` for a size that the topology cannot take, or an option's value that does not exist.

The module it returns calls its last part, from the last block's output to the logits, `head`; a binary convolution beside
the main path lies in a part called `shortcut`; and `stages()` returns the parts whose outputs are its intermediate features,
in the order of use. Real convolutions and products lie in parts called `stem`, `shortcut` or `head`, or else the audit does
not call the network binary; the first convolution may be called anything.
"""
