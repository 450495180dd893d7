"""The tables of a report, one file a table, whose name is the table's.

A table has

- `table(context: Context) -> Table | list[Table] | None`: made from one setting; None where there is nothing to show;
- `SECTION`, where it stands on the page (a key of `entries.SECTIONS`; "more" without), and `ORDER`, its place there;
- `FORMATS`, which of "md", "tex" and "csv" are written beside the page (all without);
- `FOLDED`, whether the page shows it folded up (not without).
"""
