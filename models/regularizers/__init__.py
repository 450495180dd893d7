"""Regularizers that compose with any method (`irnet+lcr`), one file each; the file's name is the regularizer's name.

A regularizer is a frozen dataclass called `Regularizer`. Its fields are its options; `weight` is one of them, and with
weight 0 training is bit-identical to the method's alone. It has `attach(network) -> Term`, called once before training.
A `Term` is used at each step:

- `begin(measure)`, before the forward pass; `measure` asks for figures even where nothing is optimized;
- `loss() -> Tensor | None`, after it: the weighted term, or None if there is nothing to optimize;
- `figures() -> dict[str, float]`: what the training log shows of this step;
- `detach()`, at the end: remove every hook from the network.
"""
