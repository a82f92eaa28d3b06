#!/usr/bin/env bash
# Train on the GPUs of one or more machines: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: run it on each, with NNODES, NODE_RANK (0, 1, ...) and MASTER_ADDR set. PORT: see torchrun.
# MAX_RESTARTS, the same on each: how often torchrun starts all processes again after one has died. It needs --resume.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500 MAX_RESTARTS=0] $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
master=${MASTER_ADDR:-127.0.0.1}
port=${PORT:-29500}

rendezvous=(--node_rank "${NODE_RANK:-0}" --master_addr "$master" --master_port "$port")
if [[ ${MAX_RESTARTS:-0} != 0 ]]; then
    if [[ " ${*:3} " != *" --resume"* ]]; then
        echo "MAX_RESTARTS=$MAX_RESTARTS needs the option --resume: without it a restarted run begins again" >&2
        exit 2
    fi
    # a store that outlives a restart tells the new processes where the dead ones were (seen with torch 2.14)
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    rendezvous=(--rdzv_backend c10d --rdzv_endpoint "$master:$port" --max_restarts "$MAX_RESTARTS")
fi

torchrun \
    --nnodes "${NNODES:-1}" \
    "${rendezvous[@]}" \
    --nproc_per_node "$gpus" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
