"""The command line. Each command imports what it needs when it runs, so that help and lists answer at once."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import click
from click.exceptions import NoSuchOption

from lcrbench import __version__
from lcrbench.bench.cli import check as cli_check
from lcrbench.bench.cli.corrupt import corrupt
from lcrbench.bench.cli.lipschitz import lipschitz
from lcrbench.errors import UserError, unknown

STORE = "lcrbench-runs"
KINDS = ("method", "regularizer", "backbone", "corruption", "metric", "preset", "data", "run", "schema")

store_option = click.option("--store", default=STORE, show_default=True, help="Folder that holds the runs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lcrbench")
def app() -> None:
    """Robustness benchmarks for binary neural networks: train under one budget, corrupt, measure, compare."""


@app.command(short_help="Train and measure the methods of a preset, and report.")
@click.argument("preset", default="quick")
@click.option("--data", "source", help="Built-in data set, or a folder or archive of images.")
@click.option("--size", type=int, help="Image size in pixels.")
@click.option("--train", type=int, help="Use a class-balanced subset of this many training images.")
@click.option("--test", type=int, help="Use a class-balanced subset of this many test images.")
@click.option("--backbone", help="Network topology.")
@click.option("--methods", help='Methods, separated by spaces: "bnn irnet irnet+lcr:weight=0.5,beta=2".')
@click.option("--seeds", help='Seeds, separated by spaces: "0 1 2".')
@click.option("--images", type=int, help="Training budget: images seen.")
@click.option("--batch", type=int, help="Images an optimizer step.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--corruptions", help='Corruptions or groups, separated by spaces: "noise fog" or "common".')
@click.option("--severities", help='Severities, separated by spaces: "1 3 5".')
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Set any other field of the spec, as TOML."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Runs at once, one thread each.  [default: all cores; 4 on a GPU]"
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@store_option
@click.option("--out", help="Folder of the report.  [default: STORE/reports/PRESET]")
@click.option("--fresh", is_flag=True, help="Run again what is finished already.")
@click.option(
    "--stale",
    type=click.Choice(["refuse", "redo", "keep"]),
    default="refuse",
    show_default=True,
    help="What to do with finished runs that other source made.",
)
@click.option("--redo", is_flag=True, help="Set damaged runs aside and run them again.")
@click.option("--save-every", type=float, default=60.0, show_default=True, help="Seconds between checkpoints.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would run, and stop.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the report.")
def run(
    preset: str,
    assignments: tuple[str, ...],
    workers: int | None,
    device: str,
    store: str,
    out: str | None,
    fresh: bool,
    stale: Literal["refuse", "redo", "keep"],
    redo: bool,
    save_every: float,
    only_plan: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Train and measure every method of a preset (or a .toml spec) under one budget, and write the report."""
    from lcrbench.bench import device as devices
    from lcrbench.bench import runner, worker
    from lcrbench.bench.records import env, spec
    from lcrbench.bench.records.budget import move_keys

    tables, notes = move_keys(_override(spec.read_grid(preset), given, assignments))
    for note in notes:
        click.echo(f"lcrbench: {note}", err=True)
    grid = spec.make_grid(tables)
    if only_plan:
        for planned in runner.plan(grid, worker.load_data(grid.data)):
            click.echo(f"{planned.run_id}  {planned.label} seed {planned.seed}")
        return
    chosen = devices.choose(device)
    # Without --fresh, which would make again what is finished by then.
    command = shlex.join(["lcrbench", *(a for a in sys.argv[1:] if a != "--fresh")])
    try:
        ids = runner.run(
            grid,
            Path(store),
            workers=workers or devices.workers(chosen, grid.budget.unit),
            device=chosen,
            command=env.command_line(),
            fresh=fresh,
            stale=stale,
            redo=redo,
            save_every=save_every,
            quiet=quiet,
        )
    except runner.Kept as error:
        raise Failed(str(error)) from None
    except KeyboardInterrupt:
        rest = " (with --fresh, to make every run again)" if fresh else ""
        raise Interrupted(
            f"interrupted: what is finished or saved is kept in {store}; to go on: {command}{rest}"
        ) from None
    _report(store, out or str(Path(store, "reports", Path(preset).stem)), ids, quiet)
    from lcrbench.bench.records.store import Store

    failed = [i for i in ids if Store(store).record(i).status == "failed"]
    if failed:
        raise Failed(f"{len(failed)} of {len(ids)} runs failed; the report says why")


@app.command("list", short_help="List what there is of a kind.")
@click.argument("kind", required=False)
@store_option
def list_(kind: str | None, store: str) -> None:
    """List what there is of a KIND: method, regularizer, backbone, corruption, metric, preset, data, run, schema."""
    if kind is None:
        click.echo("\n".join(KINDS))
        return
    kind = _kind(kind)
    rows = _entries(kind, store)
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        click.echo(f"{name:{width}}  {summary}".rstrip())


@app.command(short_help="Show one method, corruption, preset, run, ...")
@click.argument("kind")
@click.argument("name")
@click.option("--ledger", is_flag=True, help="(run) What was spent, and the hashes that prove what it was given.")
@store_option
def show(kind: str, name: str, ledger: bool, store: str) -> None:
    """Show one thing of a KIND: `show method irnet`, `show run 3f2a`, `show schema record`."""
    kind = _kind(kind)
    if kind == "run":
        _show_run(store, name, ledger)
    elif kind == "schema":
        from lcrbench.bench.records.record import Record

        if name != "record":
            raise unknown("schema", name, ["record"])
        click.echo(json.dumps(Record.model_json_schema(), indent=1))
    elif kind == "corruption":
        from lcrbench import corruptions

        click.echo(f"{name} ({corruptions.group_of(name)})\n\nseverity constants:")
        for constants in ("cifar", "tiny", "imagenet"):
            for severity in range(1, 6):
                row = corruptions.parameters(name, severity, constants)
                click.echo(f"  {constants:8} {severity}  {', '.join(f'{k}={v}' for k, v in row.items())}")
    elif kind == "preset":
        from importlib.resources import files

        from lcrbench.bench.records import spec

        spec.read_grid(name)
        click.echo((files("lcrbench.bench.presets") / f"{name}.toml").read_text(encoding="utf-8").rstrip())
    elif kind == "data":
        from lcrbench.bench import data

        loaded = data.load(name)
        click.echo(f"{loaded.name}\n{len(loaded.train)} training and {len(loaded.test)} test images")
        click.echo(f"classes: {', '.join(loaded.classes)}\nsha256: {loaded.sha256}")
    else:
        from lcrbench import registry

        if name not in registry.names(kind) and "." not in name:
            raise unknown(kind, name, registry.names(kind))
        click.echo(registry.docstring(kind, name))
        if kind in ("method", "regularizer"):
            from lcrbench.models import portrait

            click.echo("\n" + portrait.options(kind, name))
            if kind == "method" and (drawn := portrait.text(name)):
                click.echo("\n" + drawn)


@app.command(short_help="Write the comparison report of a store.")
@click.argument("store", default=STORE)
@click.option("--out", help="Folder to write.  [default: STORE/reports/all]")
@click.option("--compare", multiple=True, metavar="METHOD...", help="Only these methods; the first is the reference.")
@click.argument("more", nargs=-1, metavar="")
def report(store: str, out: str | None, compare: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Write the comparison report of the runs in STORE: a page, tables and figures."""
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import report as reports

    if more and not compare:
        raise UserError(f"unexpected '{more[0]}': one STORE, and methods after --compare")
    methods = [name for words in (*compare, *more) for name in words.split()]
    page = reports.write(Store(store), Path(out or str(Path(store, "reports", "all"))), compare=methods or None)
    click.echo(f"report: {page}")


@app.command(short_help="Check the environment, the data and the store.")
@store_option
def doctor(store: str) -> None:
    """Check the environment, the embedded data and the store, and say what to do about what is wrong."""
    from lcrbench.bench import doctor as checks

    good = True
    for check in checks.checks(store):
        good &= check.good
        click.echo(f"{'ok ' if check.good else 'BAD'}  {check.what}")
    if not good:
        raise Failed("something is wrong: see the lines that begin with BAD")


app.add_command(corrupt)
app.add_command(lipschitz)
app.add_command(cli_check.check)
app.add_command(cli_check.check_speed)
app.add_command(cli_check.reference)


class Failed(click.ClickException):
    """Something failed that is not the user's mistake: exit code 1."""

    exit_code = 1


class Interrupted(click.ClickException):
    """Ctrl-C: exit code 130, as shells have it."""

    exit_code = 130


def main() -> None:
    """Run the command line. A mistake of the user's is one line on standard error and exit code 2."""
    try:
        code = app.main(prog_name="lcrbench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        _stop(str(error), 2)
    except NoSuchOption as error:
        _stop(str(unknown("option", error.option_name, _options(error.ctx))), 2)
    except click.UsageError as error:
        _stop(error.format_message() + _advice(error), 2)
    except click.ClickException as error:
        _stop(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _stop("interrupted", 130)


def _options(ctx: click.Context | None) -> list[str]:
    """Return the long options of the command that was called."""
    params = ctx.command.get_params(ctx) if ctx else []
    return sorted(o for p in params if isinstance(p, click.Option) for o in p.opts if o.startswith("--"))


def _advice(error: click.UsageError) -> str:
    """Return what to do about a word too many, which is most often a value without its option, or beside it."""
    if "unexpected extra argument" in error.format_message():
        options = _options(error.ctx)
        if "--seeds" in options:
            return '; several values of one option stand in quotes: --seeds "0 1 2"'
        if "--store" in options:
            return "; a store is named with --store"
    return ""


def _stop(message: str, code: int) -> None:
    line = " ".join(message.split())
    # What was typed or read must not steer the terminal.
    click.echo("lcrbench: " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), err=True)
    sys.exit(code)


def _override(tables: dict[str, Any], given: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    """Put what was given on the command line into a preset's tables."""
    import tomllib

    from lcrbench.bench.records.budget import override

    places = {
        "source": "data.source", "size": "data.size", "train": "data.train", "test": "data.test",
        "backbone": "backbone", "methods": "methods", "seeds": "seeds", "images": "budget.images",
        "batch": "recipe.batch", "lr": "recipe.lr", "corruptions": "evaluation.corruptions",
        "severities": "evaluation.severities",
    }  # fmt: skip
    values: dict[str, Any] = {}
    for option, value in given.items():
        if value is not None:
            lists = option in ("methods", "seeds", "corruptions", "severities")
            values[places[option]] = value.split() if lists else value
    for option in ("seeds", "severities"):
        if (place := places[option]) in values:
            try:
                values[place] = [int(v) for v in values[place]]
            except ValueError as error:
                raise UserError(f"--{option} takes whole numbers separated by spaces: {error}") from error
    for text in assignments:
        field, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set takes FIELD=VALUE, not '{text}'")
        try:
            values[field.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[field.strip()] = value
    chosen = {p.removeprefix("budget."): v for p, v in values.items() if p.startswith("budget.")}
    if chosen and isinstance(tables.get("budget", {}), dict):
        tables["budget"] = override(tables.get("budget", {}), chosen)
    for place, value in values.items():
        *path, last = place.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UserError(f"'{place}' is no field of a spec: {part} holds no fields")
        table[last] = value
    return tables


def _report(store: str, out: str, ids: list[str], quiet: bool) -> None:
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import report as reports

    page = reports.write(Store(store), Path(out), runs=ids)
    click.echo(str(page) if quiet else f"report: {page}")


def _kind(kind: str) -> str:
    """Accept plurals too: `list methods`."""
    for known in KINDS:
        if kind in (known, known + "s"):
            return known
    raise unknown("kind", kind, KINDS)


def _entries(kind: str, store: str) -> list[tuple[str, str]]:
    if kind == "corruption":
        from lcrbench import corruptions

        return [(name, corruptions.group_of(name)) for name in corruptions.names("all")]
    if kind == "preset":
        from lcrbench.bench.records import spec

        return list(spec.presets().items())
    if kind == "data":
        from lcrbench.bench import data

        return [*data.names().items(), ("PATH", "a folder or archive of images, or a folder of idx files")]
    if kind == "schema":
        return [("record", "JSON Schema of record.json, for other programs to validate against")]
    if kind == "run":
        return _run_entries(store)
    from lcrbench import registry

    return [(name, registry.summary(kind, name)) for name in registry.names(kind)]


def _run_entries(store: str) -> list[tuple[str, str]]:
    from lcrbench.bench.records import env
    from lcrbench.bench.records.store import Damaged, Store

    found, rows = Store(store), []
    for run_id in found.ids():
        try:
            record = found.record(run_id)
        except Damaged as error:
            rows.append((run_id, f"damaged   {error}"))
            continue
        stale = "" if record.provenance.source == env.source_hash() else "  (stale: made by other source)"
        spec = record.spec
        rows.append((run_id, f"{record.status:8}  {spec.label} seed {spec.seed} on {spec.data.name}{stale}"))
    return rows


def _show_run(store: str, prefix: str, ledger: bool) -> None:
    from lcrbench.bench.records.store import Store

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
    rows |= {f"budget {k}": v for k, v in record.spec.budget.model_dump(exclude_none=True).items()}
    rows |= {f"recipe {k}": v for k, v in record.spec.recipe.model_dump().items()}
    for key, value in rows.items():
        if isinstance(value, dict):
            value = ", ".join(f"{v:.1f} s {k}" for k, v in value.items())
        click.echo(f"  {key:28}  {value}")


if __name__ == "__main__":
    main()
