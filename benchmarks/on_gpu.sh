#!/usr/bin/env bash
# What README.md and gpu-notes.md want measured on a GPU: each step within its own limit of time, so
# that one that hangs costs no other its turn. What was measured in time lies in OUT.
#
#     benchmarks/on_gpu.sh OUT                  # all steps, 18 minutes at most
#     benchmarks/on_gpu.sh OUT tests network-cuda-16
#     cp OUT/*.json benchmarks/results/ && python -m benchmarks.tables
#
# Without a GPU this tries it out:
#
#     DEVICE=cpu NETWORK="--size 32 --width 4 --levels 2" \
#         LOOP="--preset presets/tiny.yaml --images 8 --epochs 1 --eager" benchmarks/on_gpu.sh OUT
set -uo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "${1:?usage: benchmarks/on_gpu.sh OUT [STEP...]}")
shift
steps=("$@")
mkdir -p "$out"
device=${DEVICE:-cuda}
read -ra network <<<"${NETWORK:-}"
read -ra loop <<<"${LOOP:-}"
failed=0

# Run a step, if it is asked for, with a limit in seconds; its output goes to OUT/NAME.log.
step() {
  local name=$1 limit=$2 started=$SECONDS status=0
  shift 2
  [[ ${#steps[@]} -eq 0 || " ${steps[*]} " == *" $name "* ]] || return 0
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
  ((status == 0)) || failed=1
  printf '%-20s %4d s  exit status %d\n' "$name" $((SECONDS - started)) "$status" | tee -a "$out/steps.txt"
}

measure() {
  step "network-cuda-$1" "$2" python -m benchmarks.network --device "$device" --batch "$1" \
    --steps training full --rounds 5 --compile-jobs 4 ${network[@]+"${network[@]}"} \
    --json "$out/network-cuda-$1.json"
}

step tests 120 python -m pytest -q -m gpu tests/test_benchmark_network.py tests/pconv/test_training.py \
  tests/pconv/test_losses.py tests/pconv/test_dataset.py tests/pconv/test_metrics.py
step test-evaluate 60 python -m pytest -q -m "not slow" tests/workflow/test_evaluate.py
measure 16 300
step profile-cuda-graphs 120 python -m benchmarks.profile_step --device "$device" --batch 16 \
  --case ours:bf16,channels-last,graphs --rows 45 ${network[@]+"${network[@]}"} \
  --json "$out/profile-cuda-graphs.json"
step loop-cuda 90 python -m benchmarks.loop --device "$device" ${loop[@]+"${loop[@]}"} \
  --json "$out/loop-cuda.json"
measure 64 200
measure 6 200
exit "$failed"
