"""Show one method, corruption, preset, run, ..."""

from __future__ import annotations

import json

import click

from lcrbench.bench.cli import _kinds as kinds
from lcrbench.bench.cli import say, store_option
from lcrbench.errors import UserError, unknown
from lcrbench.untrusted import SPEC_BYTES, small_file, text_of


@click.command(epilog="Example: lcrbench show method irnet")
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="(run) The whole record as JSON, for programs.")
@click.option("--ledger", is_flag=True, help="(run) What was spent, and the hashes that prove what it was given.")
@click.option(
    "--size", type=click.IntRange(1, 1024), default=32, show_default=True, help="(data) Image size in pixels."
)
@click.option(
    "--stream/--no-stream",
    default=None,
    help="(data) Leave images in their files, or hold them.  [default: by their size and the memory]",
)
@store_option
def command(
    kind: str, name: str | None, as_json: bool, ledger: bool, size: int, stream: bool | None, store: str
) -> None:
    """Show one thing of a KIND, as `lcrbench list` names them: `show method irnet`, `show run 3f2a`.

    A method is shown with its formula, its options, the recipe of its paper, a drawing of its gradient, its paper and what
    that published; an estimator with its drawing; data by a name or a path, with classes, counts, hashes, what was passed
    over, and what a run needs; a run by the beginning of its id, on one screen. `show published` shows all papers and
    their numbers, those of methods that are not built here too.
    """
    kind = kinds.known(kind)
    if kind == "published":
        from lcrbench.bench.cli import _published as published

        say(published.of_name(name) if name else published.every())
        return
    if name is None:
        raise UserError(f"which {kind}? Name one, as lcrbench list {kind} does: lcrbench show {kind} NAME")
    if kind == "run":
        _show_run(store, name, ledger=ledger, as_json=as_json)
    elif kind == "schema":
        from pydantic import BaseModel

        from lcrbench.bench.records.record import Evaluation, Record, Training

        schemas: dict[str, type[BaseModel]] = {"record": Record, "training": Training, "evaluation": Evaluation}
        if name not in schemas:
            raise unknown("schema", name, schemas)
        say(json.dumps(schemas[name].model_json_schema(), indent=1))
    elif kind == "corruption":
        from lcrbench import corruptions

        say(f"{name} ({corruptions.group_of(name)})\n\nseverity constants:")
        for constants in ("cifar", "tiny", "imagenet"):
            for severity in range(1, 6):
                row = corruptions.parameters(name, severity, constants)
                say(f"  {constants:8} {severity}  {', '.join(f'{k}={v}' for k, v in row.items())}")
    elif kind == "preset":
        from lcrbench import registry

        say(text_of(small_file(registry.file(kind, name), "spec file", SPEC_BYTES), name).rstrip())
    elif kind == "report":
        _show_report(store, name)
    elif kind == "data":
        _show_data(name, size, stream)
    else:
        from lcrbench import registry

        say(registry.docstring(kind, name))
        if kind in ("method", "regularizer"):
            from lcrbench.models import portrait

            say("\n" + portrait.options(kind, name))
            if kind == "method" and (recipe := portrait.recipe(name)):
                say("\n" + recipe)
        if kind in ("method", "estimator"):
            from lcrbench.models import portrait

            if drawn := portrait.text(name, kind=kind):
                say("\n" + drawn)
        if kind in ("method", "regularizer"):
            from lcrbench.bench.cli import _published as published

            if known := published.of_entry(name):
                say("\n" + known)


def _show_report(store: str, name: str) -> None:
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import index
    from lcrbench.reports.stamp import TERMINAL

    every = {found: (about, page) for found, about, page in index.of_store(Store(store))}
    if name not in every:
        raise unknown("report", name, every)
    about, page = every[name]
    say(f"{about.get('title', '')}\n{about.get('summary', '')}\n")
    if (table := page.parent / TERMINAL).is_file():
        say(text_of(small_file(table, "table"), str(table)))
    say(f"report: {page}")


def _show_data(name: str, size: int, stream: bool | None) -> None:
    from lcrbench.bench.data import about
    from lcrbench.reports import published

    found = about.about(name, size, stream)
    for line in found.lines():
        say(line)
    hashes = (found.facts["sha256"], found.facts["train_sha256"])
    known = [
        d.title for d in published.data_sets().values() if hashes in [(o.sha256, o.train_sha256) for o in d.official]
    ]
    say(f"official: {known[0] if known else 'not known as the data of any published number'}")


def _show_run(store: str, prefix: str, *, ledger: bool, as_json: bool) -> None:
    from lcrbench.bench.records.store import Store
    from lcrbench.reports.words import class_text

    found = Store(store)
    record = found.record(found.find(prefix))
    if as_json:
        say(record.model_dump_json(indent=1))
        return
    if not ledger:
        from lcrbench.bench.cli import _run_screen as run_screen

        evaluation = found.evaluation_of(record.run_id)
        folder = found.evaluations.folder(evaluation.evaluation_id) if evaluation else found.root
        say(run_screen.screen(record, folder))
        return
    say(f"{record.trained.label} seed {record.spec.seed} on {record.spec.data.text}, {record.spec.backbone}")
    if record.ledger is None:
        raise UserError(f"run {record.run_id} has no ledger: it failed ({record.failure and record.failure.message})")
    rows: dict[str, object] = {}
    for key, value in record.ledger.model_dump().items():
        if isinstance(value, tuple):
            # Stages and teachers, each on a line of its own.
            rows |= {f"{key[:-1]} {i}": ", ".join(f"{k} {v}" for k, v in one.items()) for i, one in enumerate(value, 1)}
        else:
            rows |= {f"{key} {k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    rows["budget class"] = class_text(record.ledger.budget_class)
    rows |= {f"budget {k}": v for k, v in record.trained.budget.model_dump(exclude_none=True).items()}
    rows |= {f"recipe {k}": v for k, v in record.trained.recipe.model_dump().items()}
    for key, value in rows.items():
        if value is None or value == "":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{v:.1f} s {k}" for k, v in value.items())
        elif isinstance(value, float):
            value = f"{value:.6g}" if abs(value) < 1e5 else f"{value:.0f}"
        say(f"  {key:28}  {value}")
