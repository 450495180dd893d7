"""
A method, from an idea to a table
=================================

An idea: binarize the activations around a threshold of half a standard deviation. The file, its check, and the comparison.
"""

import tempfile
from pathlib import Path

import lcrbench

# %%
# A method is a module, here `my_plugins/shifted.py` below the current folder (to follow, copy it there), with a frozen
# dataclass `Method`, whose fields are its options.
print(Path("my_plugins/shifted.py").read_text())

# %%
from lcrbench.testing import conform  # noqa: E402

conform("method", "my_plugins.shifted")

# %%
# Three methods under one budget. `my_plugins.shifted:shift=0` is the control: the same file without the idea.
store = tempfile.mkdtemp()
lcrbench.run(
    "gate",
    store,
    methods=("bnn", "my_plugins.shifted", "my_plugins.shifted:shift=0"),
    seeds=(0,),
    data={"test": 200},
    budget={"images": 1500},
    recipe={"batch": 50},
    evaluation={"corruptions": ("fog", "gaussian_noise"), "severities": (1, 5)},
    quiet=True,
)

# %%
table = lcrbench.Store(store).table()
wanted = (table.metric == "accuracy") & (table.corruption == "") | (table.corruption == "common")
print(table[wanted].pivot(index="method", columns="metric", values="value").round(3))
