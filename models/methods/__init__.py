"""Training methods, one file each; the file's name is the method's name.

A method is a frozen dataclass called `Method` that inherits from `models.api.Method`, which says what it may and must
have. Its fields are the method's options, each with a default; the harness records every one of them.

What `conv` makes for a binary method is a `BinaryConv2d` with two parts: its `sign` (`models.api.Sign`) maps real inputs to
-1 and +1, its `binarizer` (`models.api.Binarizer`) maps the latent weight to signs and a scale.

`lcrbench.testing.conform("method", NAME)` checks all of this.
"""
