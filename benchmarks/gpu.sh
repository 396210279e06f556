#!/usr/bin/env bash
# Speed on one GPU, in under eight minutes: benchmarks/gpu.sh [OUT]
#
# For each shape, random weights: engines and the public way are compared, then training and scoring are timed,
# with utilisation, memory and what an MDAS of the reference's size (45,000 pairs, three epochs) would take.
# SHAPES, DEVICE and DTYPE say something else than Llamas of 1.1B and 7B in bfloat16 on cuda; PYTHON which
# Python. A shape that is not done after SECONDS_EACH is given up, and the others go on.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-figures}
mkdir -p "$out"
failed=0
for shape in ${SHAPES:-llama-1b llama-7b}; do
    timeout "${SECONDS_EACH:-230}" "${PYTHON:-python}" benchmarks/engine.py --quick --memory --shape "$shape" \
        --device "${DEVICE:-cuda}" --dtype "${DTYPE:-bfloat16}" --json "$out/$shape.json" | tee "$out/$shape.md"
    status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ]; then
        echo "$shape: exit status $status (124: not done in time)" | tee -a "$out/$shape.md"
        failed=1
    fi
done
exit $failed
