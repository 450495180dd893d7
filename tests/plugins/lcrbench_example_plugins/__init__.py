"""One entry of each kind that lcrbench takes from outside; `pyproject.toml` names them as entry points."""
