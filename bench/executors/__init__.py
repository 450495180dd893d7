"""Executors: what runs the jobs of a grid, one file each; the file's name is the executor's name. Provisional.

An executor's module defines `execute(jobs, workers, target, progress) -> list[Record]`: it sees that each job is worked on,
`workers` of them at once, by `lcrbench.bench.worker.work` in a process of the job's own or by `attempt` in a process that it
has already, and returns what each job came to, in the order they ended. A job that fails is a failed record, and the others
go on. It tells `progress` when a job starts, how far it is, and when it ends.
"""
