"""Data sources, one file each: what `--data` and `--test-set` can name.

A source is a module whose docstring's first line says what it reads, with

    load(place: str, size: int) -> Dataset     the data set at `place`, as images of size x size pixels
    NAMES: tuple[str, ...]                     names that stand for its data, such as "fashion-mnist-10k"; or
    detect(path: Path) -> bool                 whether it reads what lies at an existing path
    ORDER: int = 50                            of several that detect a path, the one of the smallest number loads it
    files(place: str) -> Iterable[Path]        (optional) the files and folders that it reads; default: the path
    load_test(place: str, size: int) -> TestImages    (optional) a test set without training images; `load` then says so
    STREAMS: bool = False                      whether both take a third argument, stream: bool. True: leave the images in
                                               their files, as `lcrbench.bench.data.files.Files`

`place` is one of NAMES (with what follows a colon: `fake-data:train=5000`), a path, or what follows the colon where a source
is named as `my_pkg.my_source:PLACE`. Labels number `Dataset.classes`, ids of a declared label space (`spaces.py`).
`Dataset.skipped` counts files that were passed over, and `reasons` says why. Bad data raises `UserError`.
"""
