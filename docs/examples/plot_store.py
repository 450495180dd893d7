"""
What a store tells
==================

Records, ledgers, outcomes by image and training logs of a small run.
"""

import tempfile

import matplotlib.pyplot as plt

import lcrbench

root = tempfile.mkdtemp()
lcrbench.run(
    "gate",
    root,
    methods=("bnn", "irnet"),
    seeds=(0,),
    data={"test": 200},
    budget={"images": 1500},
    recipe={"batch": 50},
    evaluation={"corruptions": ("fog",), "severities": (1, 5)},
    quiet=True,
)
store = lcrbench.Store(root)

# %%
# The ledger is what a training was given. Equal hashes prove equal data order and equal initial weights.
for record in store.records():
    ledger = record.ledger
    print(record.spec.label, ledger.images, "images;", "order", ledger.data_order_sha256[:8], end="; ")
    print("initial weights", ledger.initial_weights_sha256[:8])

# %%
# Outcomes by image make paired tests possible: on how many images is only one of the two networks right?
one, other = (store.outcomes(record.run_id) for record in store.records())
for cell in one:
    only = (one[cell] & ~other[cell]).sum(), (other[cell] & ~one[cell]).sum()
    print(f"{cell.corruption or 'clean':6} {cell.severity}: only the first {only[0]}, only the second {only[1]}")

# %%
# The training's log has a row a logged step.
fig, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for record in store.records():
    log = store.log(record.run_id)
    axis.plot(log.step, log.cross_entropy, label=record.spec.label)
axis.set(xlabel="step", ylabel="cross-entropy of the batch")
axis.legend(frameon=False)
plt.show()
