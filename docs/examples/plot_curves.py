"""
Corruption curves of two networks
=================================

Two trained networks, shown three corruptions at three severities, drawn as error against severity.
"""

import tempfile

import matplotlib.pyplot as plt

import lcrbench

# %%
# A store holds what is trained and what was shown. Two methods train on the same 1,000 images, in the same order.
store = tempfile.mkdtemp()
lcrbench.run(
    "gate",
    store,
    methods=("full_precision", "bnn"),
    seeds=(0,),
    data={"test": 100},
    budget={"images": 1000},
    recipe={"batch": 50},
    evaluation={"corruptions": ("gaussian_noise", "defocus_blur", "fog"), "severities": (1, 3, 5)},
    quiet=True,
)

# %%
# Its table has one row a measurement; the accuracies of single cells have a corruption and a severity.
table = lcrbench.Store(store).table()
cells = table[(table.metric == "accuracy") & (table.severity > 0)]
error = 100 * (1 - cells.groupby(["method", "corruption", "severity"]).value.mean())

fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for axis, corruption in zip(axes, ("gaussian_noise", "defocus_blur", "fog"), strict=True):
    for method, marker in (("full_precision", "o"), ("bnn", "s")):
        curve = error[method][corruption]
        axis.plot(curve.index, curve.values, marker=marker, label=method)
    axis.set(title=corruption, xlabel="severity", xticks=(1, 3, 5))
axes[0].set_ylabel("error on 100 test images, %")
axes[0].legend(frameon=False)
plt.show()
