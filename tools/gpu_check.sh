#!/usr/bin/env bash
# What a machine with a CUDA device is to show, in under ten minutes: the tests that need one, and images a second in training.
# Run it in an environment that holds lcrbench and pytest: bash tools/gpu_check.sh [FOLDER]; FOLDER takes the two outputs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-check}
mkdir -p "$out"
python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "gpu_check: torch finds no CUDA device here")'
status=0
timeout 240 python -m pytest -q -rs tests/bench/test_cuda.py tests/lipschitz/test_cuda.py tests/models/test_devices.py \
    tests/bench/test_shards.py -k "cuda or device" >"$out/tests.txt" 2>&1 || status=$?
tail -n 5 "$out/tests.txt"
timeout 200 python tools/throughput.py --device cuda >"$out/throughput.md" || echo "gpu_check: cut off after 200 s" >>"$out/throughput.md"
cat "$out/throughput.md"
exit "$status"
