"""Executors: what runs the jobs of a grid, one file each; the file's name is the executor's name. Provisional.

An executor's module defines `execute(jobs, workers, target, progress) -> list[Record]`: it sees that each job is worked on
by `lcrbench.bench.worker.work` (or `run_one`, under `held`), `workers` of them at once, and returns what each came to, in
the order they ended. It tells `progress` when a job starts, how far it is, and when it ends.
"""
