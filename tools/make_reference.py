"""Writes the generated pages of the documentation's reference: each entry of each kind, the spec, and the records.

python tools/make_reference.py FOLDER

Sphinx calls it (docs/conf.py); nothing that it writes is kept in the repository.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from lcrbench import corruptions, registry
from lcrbench.bench import data
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import Data, Evaluation, Grid
from lcrbench.bench.records.record import Evaluation as EvaluationRecord
from lcrbench.bench.records.record import Record, Training
from lcrbench.bench.records.spec import RunSpec, Subject
from lcrbench.corruption_names import names
from lcrbench.models import portrait

TITLES = {
    "metric": "Metrics",
    "corruption": "Corruptions",
    "estimator": "Estimators of the sign's gradient",
    "source": "Data sources",
    "transform": "Training transforms",
    "optimizer": "Optimizers",
    "schedule": "Schedules",
    "preset": "Presets",
    "table": "Tables of a report",
    "figure": "Figures of a report",
    "executor": "Executors",
    "loader": "Loaders of networks",
    "method": "Methods",
    "regularizer": "Regularizers",
    "backbone": "Backbones",
}
SPECS = (Grid, RunSpec, Subject)
"""What a spec file holds, and what runs are asked for by; the models within them follow."""
DRAWN = {*names("all"), *names("bar")}
"""Corruptions with a picture of their own; `imagecorruptions` stands for nineteen."""
SHOWN = 1
"""The embedded test image that shows what a corruption does."""
RECORDS = (Training, EvaluationRecord, Record)
VALUES = (Grid, Data, Recipe, Evaluation)
NAMES = {
    "backbone": "backbone",
    "methods": "method",
    "metrics": "metric",
    "source": "source",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "augmentation": "transform",
    "corruptions": "corruption",
}
"""The kind of entry that a field of these models names."""
PAGES: dict[str, tuple[str, tuple[type[BaseModel], ...]]] = {
    "spec": ("Fields of a spec", SPECS),
    "records": ("Records", RECORDS),
}
"""Generated pages of fields, by file: the title, and the models that the page begins with."""


def write(folder: Path) -> None:
    """Write every page below a folder, in the place of what it held."""
    shutil.rmtree(folder, ignore_errors=True)
    for kind in registry.PACKAGES:
        place = folder / kind
        place.mkdir(parents=True)
        entries = list(registry.files(kind))
        for name in entries:
            (place / f"{name}.md").write_text("\n".join(entry(kind, name)) + "\n", encoding="utf-8")
            if kind == "corruption" and name in DRAWN:
                strip(name, place / f"{name}.png")
        rows = [f"| [`{name}`]({name}.md) | {first(kind, name)} |" for name in entries]
        toc = ["```{toctree}", ":hidden:", "", *entries, "```"]
        new = f"One of your own: `lcrbench new {kind} NAME` writes a template with its test."
        head = [f"# {TITLES.get(kind, kind)}", "", new, "", "| name | what it is |", "|:--|:--|"]
        (place / "index.md").write_text("\n".join([*head, *rows, "", *toc]) + "\n", encoding="utf-8")
    told: dict[type[BaseModel], str] = {}
    for name, (title, models) in PAGES.items():
        new = [model for model in reachable(models) if model not in told]
        told |= dict.fromkeys(new, f"{name}.md")
        (folder / f"{name}.md").write_text("\n".join(schema(title, new, told)) + "\n", encoding="utf-8")


def first(kind: str, name: str) -> str:
    """Return the first sentence of an entry's docstring, for a table."""
    paragraph = registry.docstring(kind, name).partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def entry(kind: str, name: str) -> Iterator[str]:
    """Yield the lines of one entry's page."""
    path = registry.file(kind, name)
    yield f"# {name}"
    yield ""
    yield f"A {kind} of lcrbench, named `{name}`."
    yield ""
    yield from prose(registry.docstring(kind, name) or "")
    if kind in ("method", "regularizer"):
        yield from prose(portrait.options(kind, name))
        picture = Path(__file__).resolve().parents[1] / "docs" / "img" / f"method_{name}.svg"
        if kind == "method" and picture.exists():
            yield from (f"![{name}: values and pseudo-gradients](/img/{picture.name})", "")
        if kind == "method" and (recipe := portrait.recipe(name)):
            yield from verbatim(recipe)
    elif kind == "metric":
        yield from about_metric(registry.load(kind, name))
    elif kind == "corruption" and name in DRAWN:
        yield from (f"![{name}: the clean image and severities 1 to 5]({name}.png)", "")
        if name in names("all"):
            yield from constants(name)
    elif kind == "preset":
        yield from verbatim(path.read_text(encoding="utf-8"), "toml")


def prose(text: str) -> Iterator[str]:
    """Yield a docstring as Markdown: what is indented is a formula or a table, the rest are paragraphs and lists."""
    item, formula = False, False
    for line in text.splitlines():
        indented = line.startswith("  ")
        if line.strip() and not indented:
            item = line.startswith("- ")
        if line.strip() and formula != (indented and not item):
            formula = not formula
            yield from ("", "```text") if formula else ("```", "")
        yield line.removeprefix("    ") if formula else escaped(line)
    if formula:
        yield "```"
    yield ""


def escaped(line: str) -> str:
    """Return a line in which no character outside of code means something to Markdown."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([<*|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def verbatim(text: str, language: str = "text") -> Iterator[str]:
    """Yield text as it is."""
    if text.strip():
        yield from ("", f"```{language}", *text.rstrip().splitlines(), "```", "")


def about_metric(module: Any) -> Iterator[str]:
    """Yield what a metric says of its numbers, and its options."""
    info = module.INFO
    better = {True: "higher", False: "lower", None: "neither"}[info.higher_is_better]
    needs = ", ".join(sorted(need.value for need in module.NEEDS)) or "predictions alone"
    yield from (
        "| unit | bound | better | needs |",
        "|:--|:--|:--|:--|",
        f"| {info.unit} | {info.bound} | {better} | {needs} |",
        "",
    )
    options = inspect.signature(module.Options).parameters.values()
    if options:
        yield from ("| option | default |", "|:--|:--|")
        yield from (f"| `{o.name}` | `{o.default}` |" for o in options)
        yield ""


def constants(name: str) -> Iterator[str]:
    """Yield a corruption's constants by severity and set, one row each."""
    yield from ("| images | constant | 1 | 2 | 3 | 4 | 5 |", "|:--|:--|--:|--:|--:|--:|--:|")
    for which in ("cifar", "tiny", "imagenet"):
        by_severity = [corruptions.parameters(name, severity, which) for severity in range(1, 6)]
        for key in by_severity[0]:
            yield f"| `{which}` | {key} | " + " | ".join(str(of[key]) for of in by_severity) + " |"
    yield ""


def strip(name: str, out: Path) -> None:
    """Draw one of the embedded photographs, clean and at severities 1 to 5, side by side."""
    image = data.load().test.images[SHOWN]
    images = [image, *(corruptions.corrupt(image, name, severity, seed=0) for severity in range(1, 6))]
    # Pixels four times as large, and a white line between the images.
    large = [np.pad(i.repeat(4, 0).repeat(4, 1), ((0, 0), (0, 4), (0, 0)), constant_values=255) for i in images]
    wide = np.concatenate(large, 1)
    Image.fromarray(wide).save(out)


def reachable(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return models and those of their fields, each once, the fields' models behind the one that has them."""
    found: dict[type[BaseModel], None] = {}

    def visit(model: type[BaseModel]) -> None:
        if model not in found:
            found[model] = None
            for about in model.model_fields.values():
                for one in parts(about.annotation):
                    if isinstance(one, type) and issubclass(one, BaseModel):
                        visit(one)

    for model in models:
        visit(model)
    return list(found)


def parts(kind: Any) -> Iterator[Any]:
    """Yield a type and the types within it."""
    yield kind
    for one in typing.get_args(kind):
        yield from parts(one)


def schema(title: str, models: Iterable[type[BaseModel]], told: Mapping[type[BaseModel], str]) -> Iterator[str]:
    """Yield the fields of models as tables; `told` is the page of each model."""
    yield f"# {title}"
    yield ""
    yield "`lcrbench show schema record` (or training, evaluation) prints the JSON schema. A spec file is TOML."
    for model in models:
        yield from ("", f"## {model.__name__}", "")
        yield from prose(inspect.getdoc(model) or "")
        yield from ("| field | type | default | meaning |", "|:--|:--|:--|:--|")
        for name, about in model.model_fields.items():
            row = [f"`{name}`", typed(about), default(about), meaning(model, name, told)]
            yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def meaning(model: type[BaseModel], name: str, told: Mapping[type[BaseModel], str]) -> str:
    """Return what a field means: its description, or else the docstring's sentence, and where its own type's fields stand.

    A module that is counted for numbers has its words in the docstring, because a description would change its hash.
    """
    about = model.model_fields[name]
    sentence = re.search(rf"(?:^|\. |\n\n)`{name}` ([^.:]+)[.:]", inspect.getdoc(model) or "")
    said = [about.description] if about.description else [" ".join(sentence[1].split())] if sentence else []
    inner = [one for one in dict.fromkeys(parts(about.annotation)) if one in told]
    if kind := NAMES.get(name) if model in VALUES else None:
        said.append(f"there are [{TITLES[kind].lower()}]({kind}/index.md)")
    said += [f"see [{one.__name__}]({told[one]}#{one.__name__.lower()})" for one in inner]
    return "; ".join(said)


def typed(about: Any) -> str:
    """Return a field's type with the bounds on its values: `int`, 8 to 512."""
    text = f"`{type_text(about.annotation)}`"
    of_each = [bounds(getattr(one, "__metadata__", ())) for one in parts(about.annotation)]
    said = [bounds(about.metadata), *(f"each {each}" for each in of_each if each)]
    return ", ".join([text, *filter(None, said)])


def bounds(metadata: Iterable[Any]) -> str:
    """Return the bounds on a value in words; nothing where it has none."""
    limits: dict[str, Any] = {}
    for one in metadata:
        inner = getattr(one, "metadata", [one])  # a Field within a tuple's type
        for limit in inner:
            limits |= {
                key: getattr(limit, key) for key in ("gt", "ge", "lt", "le", "min_length") if hasattr(limit, key)
            }
    if {"ge", "le"} <= set(limits):
        return f"{limits['ge']} to {limits['le']}"
    if "min_length" in limits:
        return "not empty"
    words = {"gt": "above {}", "ge": "{} or more", "lt": "below {}", "le": "up to {}"}
    return ", ".join(words[key].format(f"{limits[key]:g}") for key in words if key in limits)


def type_text(kind: Any) -> str:
    """Return a field's type without the modules that its parts come from, and without the bounds on its values."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(one) for one in arguments)
    if origin is typing.Literal:
        return " | ".join(json.dumps(one) for one in arguments)
    if kind in (None, type(None), ...):
        return "..." if kind is ... else "null"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(json.dumps(one.value) for one in kind)
    name = getattr(origin or kind, "__name__", str(kind))
    return f"{name}[{', '.join(type_text(one) for one in arguments)}]" if arguments else name


def default(about: Any) -> str:
    """Return a field's default; nothing where it has none, or a table of its own."""
    if about.is_required():
        return ""
    value = about.get_default(call_default_factory=True)
    return "" if isinstance(value, BaseModel) else f"`{json.dumps(value, default=str)}`"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
