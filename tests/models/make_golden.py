"""Writes golden/trainings.json anew: of all methods and regularizers, or of those named (`make_golden.py rbnn reste`).

Only for a method that is new or deliberately changed. Bits of other machines are kept where the values are the same.
"""

from __future__ import annotations

import json
import sys

import torch
from test_golden import METHODS, TABLE, bits, close, golden, key, values

if __name__ == "__main__":
    torch.set_num_threads(1)
    table = {text: row for text, row in golden().items() if text in METHODS}
    for text in sys.argv[1:] or METHODS:
        if text not in METHODS:
            sys.exit(f"{text} is none of {', '.join(METHODS)}")
        found = values(text)
        before = table.get(text, {"values": {}, "bits": {}})
        same = close(found, before["values"])
        kept = before["bits"] if same else {}
        table[text] = {"values": before["values"] if same else found, "bits": kept | {key(): bits(text)}}
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(json.dumps({text: table[text] for text in METHODS if text in table}, indent=1) + "\n")
