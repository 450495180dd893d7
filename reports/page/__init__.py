"""The page of a report: one HTML file with everything inside it."""

from lcrbench.reports.page.render import Placed, Section, Words, render
from lcrbench.reports.page.view import Drawn

__all__ = ["Drawn", "Placed", "Section", "Words", "render"]
