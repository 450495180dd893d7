"""Write a table for a paper: LaTeX, Markdown, CSV, HTML or plain text."""

from __future__ import annotations

from typing import Literal

import click

from lcrbench.bench.cli import FOLDER, STORE, say

STYLES = ("main", "corruptions", "lipschitz", "cost")


@click.command(epilog="Example: lcrbench table lcrbench-runs --style main --intervals pm")
@click.argument("store", type=FOLDER, default=STORE)
@click.option("--style", type=click.Choice(STYLES), default="main", show_default=True, help="Which columns.")
@click.option("--columns", default="", help='Other columns, by name, separated by spaces: "wa clean error ops fog".')
@click.option(
    "--intervals",
    type=click.Choice(["pm", "ci", "none"]),
    help="Standard deviation over seeds, 95 % interval, or neither.  [default: pm; none for corruptions]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["latex", "md", "csv", "html", "text"]),
    default="latex",
    show_default=True,
    help="LaTeX needs booktabs and graphicx.",
)
@click.option("--methods", default="", help="Only these methods, separated by spaces, in this order.")
@click.option("--setting", type=click.IntRange(1), default=1, show_default=True, help="Which setting of the store.")
@click.option("--label", default="", help=r"LaTeX's \label: tab:LABEL.  [default: the style]")
@click.option("--out", type=FOLDER, help="File to write, in the place of standard output.")
def command(
    store: str,
    style: str,
    columns: str,
    intervals: Literal["pm", "ci", "none"] | None,
    form: str,
    methods: str,
    setting: int,
    label: str,
    out: str | None,
) -> None:
    """Print one table of the runs in STORE: main, by corruption, of Lipschitz figures, or of cost.

    LaTeX comes as one float with booktabs and a label, at 8 pt and no wider than the text of a two-column article; what is
    wider stands in blocks below one another. Numbers are mean ± standard deviation over the training seeds, with n in the
    caption.
    """
    from lcrbench.bench.records.store import Store
    from lcrbench.errors import UserError
    from lcrbench.reports.paper import latex, of_store, paper_table, text

    names = columns.replace(",", " ").split()
    how = intervals or ("none" if style == "corruptions" and not names else "pm")
    searched = of_store.needs_lipschitz(style, names)
    context = of_store.context_of(Store(store), methods.split(), setting, searched=searched)
    table = paper_table(context, style, names, how)
    if table is None:
        raise UserError(f"there is nothing for a table of style {style} in {context.setting.title}")
    made = {
        "latex": lambda: latex(table, intervals=how, label=label or style),
        "md": lambda: text.markdown(table, how),
        "csv": lambda: text.csv(table),
        "html": lambda: text.page(table, how),
        "text": lambda: text.terminal(table, how) + "\n",
    }[form]()
    if out:
        say(f"table: {of_store.keep(made, out)}")
    else:
        say(made.rstrip("\n"))
    if len(context.comparison.settings) > 1:
        say(f"lcrbench: this is setting {setting}; {of_store.told(context.comparison)}", err=True)
