"""Show one method, corruption, preset, run, ..."""

from __future__ import annotations

import json

import click

from lcrbench.bench.cli import _kinds as kinds
from lcrbench.bench.cli import store_option
from lcrbench.errors import UserError, unknown


@click.command(epilog="Example: lcrbench show method irnet")
@click.argument("kind")
@click.argument("name")
@click.option("--ledger", is_flag=True, help="(run) What was spent, and the hashes that prove what it was given.")
@store_option
def command(kind: str, name: str, ledger: bool, store: str) -> None:
    """Show one thing of a KIND, as `lcrbench list` names them: `show method irnet`, `show run 3f2a`.

    A method is shown with its formula, its options and a drawing of its gradient, an estimator with its drawing; a run by
    the beginning of its id.
    """
    kind = kinds.known(kind)
    if kind == "run":
        _show_run(store, name, ledger)
    elif kind == "schema":
        from pydantic import BaseModel

        from lcrbench.bench.records.record import Evaluation, Record, Training

        schemas: dict[str, type[BaseModel]] = {"record": Record, "training": Training, "evaluation": Evaluation}
        if name not in schemas:
            raise unknown("schema", name, schemas)
        click.echo(json.dumps(schemas[name].model_json_schema(), indent=1))
    elif kind == "corruption":
        from lcrbench import corruptions

        click.echo(f"{name} ({corruptions.group_of(name)})\n\nseverity constants:")
        for constants in ("cifar", "tiny", "imagenet"):
            for severity in range(1, 6):
                row = corruptions.parameters(name, severity, constants)
                click.echo(f"  {constants:8} {severity}  {', '.join(f'{k}={v}' for k, v in row.items())}")
    elif kind == "preset":
        from lcrbench import registry

        click.echo(registry.file(kind, name).read_text(encoding="utf-8").rstrip())
    elif kind == "data":
        from lcrbench.bench import data

        loaded = data.load(name)
        click.echo(f"{loaded.name}\n{len(loaded.train)} training and {len(loaded.test)} test images")
        click.echo(f"classes: {', '.join(loaded.classes)}\nsha256: {loaded.sha256}")
    else:
        from lcrbench import registry

        click.echo(registry.docstring(kind, name))
        if kind in ("method", "regularizer"):
            from lcrbench.models import portrait

            click.echo("\n" + portrait.options(kind, name))
        if kind in ("method", "estimator"):
            from lcrbench.models import portrait

            if drawn := portrait.text(name, kind=kind):
                click.echo("\n" + drawn)


def _show_run(store: str, prefix: str, ledger: bool) -> None:
    from lcrbench.bench.records.store import Store
    from lcrbench.reports.words import class_text

    found = Store(store)
    record = found.record(found.find(prefix))
    if not ledger:
        click.echo(record.model_dump_json(indent=1))
        return
    click.echo(f"{record.spec.label} seed {record.spec.seed} on {record.spec.data.name}, {record.spec.backbone}")
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
    rows |= {f"budget {k}": v for k, v in record.spec.budget.model_dump(exclude_none=True).items()}
    rows |= {f"recipe {k}": v for k, v in record.spec.recipe.model_dump().items()}
    for key, value in rows.items():
        if isinstance(value, dict):
            value = ", ".join(f"{v:.1f} s {k}" for k, v in value.items())
        click.echo(f"  {key:28}  {value}")
