#!/usr/bin/env bash
# Evaluate robustness through Slurm: tools/slurm_evaluate.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of
# tools/evaluate_robustness.py]. A job array of SHARDS elements, each with one GPU, or none with GPUS=0, and a log of its
# own below LOG_DIR; the last one to finish summarises. Slurm requeues an element whose node fails or that is preempted;
# after anything else, the same command again runs what is missing. SBATCH_ARGS is split at spaces.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: [SHARDS=8 GPUS=1 CPUS_PER_TASK=5 LOG_DIR=work_dirs/slurm SBATCH_ARGS=...] $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of evaluate_robustness.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
shards=${SHARDS:-8}
gpus=${GPUS:-1}
log_dir=${LOG_DIR:-work_dirs/slurm}
read -r -a sbatch_args <<< "${SBATCH_ARGS:-}"
if [[ $gpus != [01] ]]; then
    echo "GPUS is of one element, 0 or 1, got $gpus: SHARDS says how many elements there are" >&2
    exit 2
fi
if ((gpus)); then
    sbatch_args=(--gres gpu:1 ${sbatch_args[@]+"${sbatch_args[@]}"})
fi

mkdir -p "$log_dir" # Slurm does not, and an element without a place for its log fails in silence
sbatch \
    --partition "$partition" \
    --job-name "$job_name" \
    --array "0-$((shards - 1))" \
    --ntasks 1 \
    --cpus-per-task "${CPUS_PER_TASK:-5}" \
    --requeue \
    --output "$log_dir/%x_%A_%a.log" \
    --open-mode append \
    ${sbatch_args[@]+"${sbatch_args[@]}"} \
    /dev/stdin "$shards" "$(dirname "$0")/evaluate_robustness.py" "${@:3}" << 'ELEMENT'
#!/usr/bin/env bash
exec python -u "${@:2}" --shard "$SLURM_ARRAY_TASK_ID/$1"
ELEMENT
