"""The figures of a report, one file a figure, whose name is the figure's.

A figure has

- `figure(context: Context) -> Picture | None`: drawn from one setting; None where there is nothing to draw;
- `SECTION`: "lipschitz" for one that is drawn from Lipschitz figures alone, so that `lcrbench lipschitz` draws it too; and
  `ORDER`, its place on the page;
- `NEEDS`, what it is not drawn without, where that is more than something measured: `lcrbench plot` says it.
"""
