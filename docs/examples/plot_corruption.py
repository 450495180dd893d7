"""
A corruption of your own
========================

A corruption is a module with one function. It is named by its import path wherever a corruption is named.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import lcrbench

# %%
# The file is `my_plugins/stripes.py` below the current folder (to follow, copy it there): stripes whose brightness grows
# with the severity and whose phase is drawn for each image. `random` depends on the image's index, so that the same image
# always gets the same stripes.
print(Path("my_plugins/stripes.py").read_text())

# %%
# The conformance suite says whether it keeps the contract: shapes, repeatability, independence of the other images.
from lcrbench.testing import conform  # noqa: E402

conform("corruption", "my_plugins.stripes")

# %%
# Seen at every severity, beside one of the official ones.
images = lcrbench.load_data().test.images[:1]
fig, axes = plt.subplots(2, 5, figsize=(8, 3.4), layout="constrained")
for row, name in zip(axes, ("my_plugins.stripes", "fog"), strict=True):
    for severity, axis in enumerate(row, 1):
        axis.imshow(lcrbench.corrupt(images, name, severity)[0])
        axis.set_title(f"{name} {severity}", fontsize=9)
        axis.axis("off")
plt.show()

# %%
# Any network can be shown it: here one that was never trained.
network = lcrbench.build_model("bnn")
found = lcrbench.evaluate(network, corruptions="my_plugins.stripes", severities=(1, 5), metrics={"accuracy": {}})
print(found.table()[["corruption", "severity", "value", "low", "high", "n"]])
