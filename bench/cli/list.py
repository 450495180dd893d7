"""List what there is of a kind."""

from __future__ import annotations

import click

from lcrbench.bench.cli import _kinds as kinds
from lcrbench.bench.cli import say, store_option
from lcrbench.errors import UserError
from lcrbench.untrusted import shown

HELP = f"""List what there is of a KIND: {", ".join(kinds.KINDS)}.

Plurals are accepted too. Without KIND, list the kinds."""


@click.command(help=HELP, epilog="Example: lcrbench list methods")
@click.argument("kind", required=False)
@store_option
def command(kind: str | None, store: str) -> None:
    """List the entries of a kind, a line each: its name, and what it is."""
    if kind is None:
        say("\n".join(kinds.KINDS))
        return
    kind = kinds.known(kind)
    rows = _entries(kind, store)
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in ((shown(n), shown(s)) for n, s in rows):
        say(f"{name:{width}}  {summary}".rstrip())


def _entries(kind: str, store: str) -> list[tuple[str, str]]:
    if kind == "corruption":
        from lcrbench import corruption_names, corruptions, registry

        ours = [(name, corruptions.group_of(name)) for name in corruption_names.GROUP]
        return ours + [(name, registry.summary(kind, name)) for name in corruptions.others()]
    if kind == "data":
        from lcrbench.bench import data

        return [*data.names().items(), ("PATH", "a folder or archive of images, or a folder of idx files")]
    if kind == "schema":
        return [
            ("training", "JSON Schema of a training's record.json, for other programs to validate against"),
            ("evaluation", "the same of an evaluation's"),
            (
                "record",
                "the same of a run as `lcrbench show run --json` prints it: a training and its evaluation, joined",
            ),
        ]
    if kind == "published":
        from lcrbench.reports import published

        return [(p.id, f"{p.short}, {p.title}") for p in published.papers().values()]
    if kind == "run":
        return _run_entries(store)
    if kind == "report":
        from lcrbench.bench.records.store import Store
        from lcrbench.reports import index

        return [(name, f"{about.get('title', '')}  {page}") for name, about, page in index.of_store(Store(store))]
    from lcrbench import registry

    return [(registry.public(kind, name), registry.summary(kind, name)) for name in registry.names(kind)]


def _run_entries(store: str) -> list[tuple[str, str]]:
    from lcrbench.bench.records import source
    from lcrbench.bench.records.store import Damaged, Store

    found = Store(store)
    rows: list[tuple[tuple[str, str, int, str], tuple[str, str]]] = []
    for run_id in found.ids():
        try:
            record = found.record(run_id)
        except UserError as error:
            # One that is damaged, or that a newer version wrote, hides none of the others.
            what = "damaged" if isinstance(error, Damaged) else "unread"
            rows.append((("", "", 0, run_id), (run_id, f"{what:8}  {error}")))
            continue
        why = source.stale(record) if record.status == "finished" else ""
        stale = f"  (stale: {why})" if why else ""
        spec = record.spec
        told = f"{record.status:8}  {spec.label} seed {spec.seed} on {spec.data.text}{stale}"
        rows.append(((spec.data.text, spec.label, spec.seed, run_id), (run_id, told)))
    return [row for _, row in sorted(rows)]  # as people look for a run, and not by its id
