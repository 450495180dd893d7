"""Writes hashes.json anew. Only for a deliberate change of results, together with a new scheme in `philox.derive_key`."""

import json

from test_properties import HASHES, digests

if __name__ == "__main__":
    HASHES.write_text(json.dumps(digests(), indent=1) + "\n")
