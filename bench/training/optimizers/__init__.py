"""Optimizers of a recipe, one file each; the file's name is the optimizer's name.

    @dataclass(frozen=True)
    class Optimizer(api.Optimizer):
        nesterov: bool = True                                             # an option: sgd:nesterov=false

        def make(self, groups, recipe) -> torch.optim.Optimizer: ...

`lcrbench.bench.training.api.Optimizer` says what `make` gets and returns. Learning rate, momentum and weight decay are
fields of the recipe, so that all methods of a comparison share them.
"""
