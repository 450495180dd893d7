"""Schedules of the learning rate, one file each; the file's name is the schedule's name.

    @dataclass(frozen=True)
    class Schedule(api.Schedule):
        def factor(self, progress: float, warmup: float) -> float: ...

`lcrbench.bench.training.api.Schedule` says what `factor` gets and returns. The warm-up before it is the recipe's.
"""
