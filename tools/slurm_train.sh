#!/usr/bin/env bash
# Train through Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS counts all of them; GPUS=0 takes TASKS processes on CPUs, over gloo. Two jobs on one machine need two values of
# MASTER_PORT. SRUN_ARGS is split at spaces.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: [GPUS=8 GPUS_PER_NODE=8 TASKS=1 CPUS_PER_TASK=5 SRUN_ARGS=...] $0 PARTITION JOB_NAME CONFIG [options of train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -r -a srun_args <<< "${SRUN_ARGS:-}"
if ((gpus)); then
    tasks=(--gres "gpu:$gpus_per_node" --ntasks "$gpus" --ntasks-per-node "$gpus_per_node")
else
    tasks=(--ntasks "${TASKS:-1}")
fi

srun \
    --partition "$partition" \
    --job-name "$job_name" \
    "${tasks[@]}" \
    --cpus-per-task "${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "${@:4}"
