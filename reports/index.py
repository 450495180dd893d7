"""The page that lists the reports of a store, STORE/reports/index.html, made from what each says of itself."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import quote

from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports.stamp import MANIFEST, PAGE
from lcrbench.untrusted import json_of, small_file

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font: 600 1.7rem/1.2 Georgia, serif; } li { margin: .9rem 0; } p { margin: .2rem 0; opacity: .8; }
"""


def found(folder: Path) -> list[tuple[str, dict[str, object]]]:
    """Return the folders of a store's reports with what each is about, by name; what cannot be read is left out."""
    reports = []
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            about = json_of(small_file(manifest, "manifest"), str(manifest)).get("about")
        except (UserError, AttributeError):
            continue
        if isinstance(about, dict) and (manifest.parent / PAGE).is_file():
            reports.append((manifest.parent.name, about))
    return reports


def of_store(store: Store) -> list[tuple[str, dict[str, object], Path]]:
    """Return a store's reports by name: what each is about, and its page."""
    folder = store.root / "reports"
    return [(name, about, folder / name / PAGE) for name, about in found(folder)]


def write(folder: Path) -> None:
    """Write the index of the reports in a folder."""
    items = [
        f'<li><a href="{quote(name)}/{PAGE}">{html.escape(str(about.get("title", name)))}</a> '
        f"<code>{html.escape(name)}</code><p>{html.escape(str(about.get('summary', '')))}</p></li>"
        for name, about in found(folder)
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Reports</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head>\n<body><h1>Reports of this store</h1><ul>{''.join(items)}</ul></body></html>\n"
    )
    replace_file(folder / PAGE, page.encode())
