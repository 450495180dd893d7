"""Training methods, one file each; the file's name is the method's name.

A method is a frozen dataclass called `Method`. Its fields are the method's options; the harness records every one of
them. It has

- `weight_bits`, `activation_bits` (class attributes): the precision of the layers that `conv` makes;
- `conv(in_channels, out_channels, kernel_size, stride, padding) -> nn.Module`: the convolution inside the blocks (the
  first convolution and the last linear layer stay in full precision in every backbone);
- `activation(channels) -> nn.Module`: the nonlinearity at the end of each block;
- optionally `on_progress(network, t)`: called before each step with t in [0, 1), for schedules.
"""
