#!/usr/bin/env bash
# What a machine with a CUDA device is to show, in under ten minutes: the tests that need one, and images a second in training,
# plain steps beside captured ones.
# Run it in an environment that holds lcrbench, pytest and pytest-xdist: bash tools/gpu_check.sh [FOLDER]; FOLDER takes the outputs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-check}
mkdir -p "$out"
python3 -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "gpu_check: torch finds no CUDA device here")'
status=0
timeout 240 python3 -m pytest -q -n 8 -rf tests/bench/test_steps.py tests/bench/test_cuda.py tests/lipschitz/test_cuda.py \
    tests/bench/test_evaluate.py tests/models/test_devices.py -k "steps or cuda or device" >"$out/tests.txt" 2>&1 || status=$?
tail -n 12 "$out/tests.txt"
table() {
    timeout 90 python3 tools/throughput.py --device cuda "$@" || echo "gpu_check: cut off"
}
{
    table --backbones "resnet20 resnet18"
    table --backbones "resnet18@224" --methods "full_precision irnet" --steps 10
    table --backbones resnet20 --methods "bnn irnet" --kinds "captured bf16" --at-once 4 --steps 1000
} | tee "$out/throughput.md"
exit "$status"
