"""Training methods, one file each; the file's name is the method's name.

A method is a frozen dataclass called `Method`. Its fields are the method's options; the harness records every one of
them. It has

- `weight_bits`, `activation_bits` (class attributes): the precision of the layers that `conv` makes;
- `conv(in_channels, out_channels, kernel_size, stride, padding) -> nn.Module`: the convolution inside the blocks (the
  first convolution and the last linear layer stay in full precision in every backbone);
- `activation(channels) -> nn.Module`: the nonlinearity at the end of each block;
- optionally `on_progress(network, t)`: called before each step with t in [0, 1), for schedules;
- optionally `stages`, the names of the stages of a training in several, and `on_stage(network, k)`, called when stage k
  begins: each has an equal part of the budget and a whole schedule, t included. It may set only what is not in the
  network's state, since a training that resumes calls it again.

What `conv` makes for a binary method is a `BinaryConv2d` with two parts, both modules. Its `sign` maps real inputs to -1
and +1; thresholds and normalizations of the input live inside it. Its `binarizer` maps the latent weight to signs and a
scale; if it has `start(weight)`, that is called once with the initial latent weight, for constants that depend on it.
"""
