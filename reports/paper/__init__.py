"""Tables for a paper: a style's columns from a setting, and LaTeX, Markdown, CSV, HTML or plain text from a table."""

from lcrbench.reports.paper.latex import Intervals, latex
from lcrbench.reports.paper.styles import COLUMNS, STYLES, paper_table, paper_tables

__all__ = ["COLUMNS", "STYLES", "Intervals", "latex", "paper_table", "paper_tables"]
