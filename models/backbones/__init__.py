"""Network topologies, one file each; the file's name is the backbone's name.

A backbone is a function `build(method, classes, size) -> nn.Module` from normalized images (N, 3, size, size) to logits
(N, classes). The module it returns calls its last part, from the last block's output to the logits, `head`. `build` raises
`ValueError` for a size that the topology cannot take.
"""
