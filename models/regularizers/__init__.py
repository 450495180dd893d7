"""Regularizers that compose with any method (`irnet+lcr`), one file each; the file's name is the regularizer's name.

A regularizer is a frozen dataclass called `Regularizer` that inherits from `models.api.Regularizer`. Its fields are its
options; `weight` is one of them, and with weight 0 training is bit-identical to the method's alone. Before the first step,
`attach` makes a `models.api.Term`, whose `loss` is given a `Context` at each step: the images, labels and logits, and what
entered and left the parts of the network that the term watches.

`lcrbench.testing.conform("regularizer", NAME)` checks all of this.
"""
