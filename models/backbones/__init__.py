"""Network topologies, one file each; the file's name is the backbone's name.

A backbone is a function `build(method, classes, size, *, ...) -> models.api.Backbone` for normalized images
(N, 3, size, size) and logits (N, classes). Keyword arguments with defaults are its options
(`resnet18:shortcut=binary,convs=2`); the harness records every one. `build` raises `ValueError` for a size that the topology
cannot take, or an option's value that does not exist.

`lcrbench.testing.conform("backbone", NAME)` checks what `models.api.Backbone` says.
"""
