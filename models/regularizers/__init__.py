"""Regularizers that compose with any method (`irnet+lcr`), one file each; the file's name is the regularizer's name.

A regularizer is a frozen dataclass called `Regularizer`. Its fields are its options; `weight` is one of them, and with
weight 0 training is bit-identical to the method's alone. It has `attach(network) -> Term`, called once before training;
it raises `ValueError` for a network that it does not fit. Optionally it has

- `teacher` (class attribute): the method of a frozen network of the same topology that it needs, trained beforehand under
  the same budget; then it is `attach(network, teacher=None)`, where None is for finding out whether it fits;
- `prepare(body)`, called once when the network is built: for what is part of the network itself; parameters that only the
  training uses go into a `packed.TrainingOnly`, and are neither exported nor counted.

A `Term` is used at each step:

- `begin(measure)`, before the forward pass; `measure` asks for figures even where nothing is optimized;
- `loss() -> Tensor | None`, after it: the weighted term, or None if there is nothing to optimize;
- `figures() -> dict[str, float]`: what the training log shows of this step;
- `detach()`, at the end: remove every hook from the network;
- optionally `replaces`, in [0, 1]: the share of the cross-entropy that the term takes the place of;
- optionally `passes`: by network ("student", "teacher"), the forward and backward passes for each training image that the
  last step took beyond the student's own, and that network's multiply-accumulates over the student's; before the first
  step, what a step takes at most;
- optionally `state() -> dict[str, Tensor]` and `restore(tensors)`: what a resumed training needs to go on to the same bits.
"""
