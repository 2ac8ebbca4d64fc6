#!/usr/bin/env bash
# One run on a machine with a GPU, under eight minutes: is everything right there, and how fast is it?
#
#   bash bench/gpu.sh prepare DATA          on any machine with the development set-up: small datasets (3 MB)
#   bash bench/gpu.sh run DATA OUTPUT       on the machine with the GPU: OUTPUT/check.json, time.json, log.txt
#
# `run` needs torch (2.6 or newer) with CUDA, DeepSpeed with what it needs (hjson, ninja, msgpack, py-cpuinfo, einops,
# pydantic), safetensors, tensorboard, and a C compiler for `--compile`; neither numba nor the network. It checks first
# (goldens in float32 and bfloat16, packed rows against single documents, ZeRO 0 to 3 with and without offload against a
# plain loop, resuming bit for bit) and times in any case, so one visit tells both.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$(command -v python || command -v python3)}"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

case "${1:-}" in
prepare)
    "$python" "$here/bench/gpu.py" prepare "$2"
    ;;
run)
    data="$2" output="$3" status=0
    mkdir -p "$output"
    {
        command -v nvidia-smi >/dev/null && { nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || true; }
        "$python" -c 'import torch, deepspeed; print("torch", torch.__version__, "deepspeed", deepspeed.__version__)'
        timeout 180 "$python" "$here/bench/gpu.py" check "$data" "$output/check.json" || status=$?
        timeout 290 "$python" "$here/bench/gpu.py" time "$data" "$output/time.json" --seconds 230 || status=$?
        echo "status $status"
    } 2>&1 | tee "$output/log.txt"
    grep -qx "status 0" "$output/log.txt"
    ;;
*)
    sed -n '2,10p' "$0"
    exit 2
    ;;
esac
