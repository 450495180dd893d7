"""Templates of `lcrbench new`: one `KIND.EXT.txt` a kind, and the test that goes with each."""
