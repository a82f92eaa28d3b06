#!/usr/bin/env bash
# Cancel the jobs of the Slurm that start_slurm.sh started in FOLDER, and stop it: tests/slurm/stop_slurm.sh FOLDER
set -euo pipefail

if [[ $# -ne 1 ]]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
folder=$(cd "$1" && pwd)
export SLURM_CONF=$folder/slurm.conf

scancel --quiet --user "$(id -un)" || true # the controller may be dead
for _ in {1..60}; do
    [[ -n $(squeue --noheader 2> /dev/null) ]] || break
    sleep 0.5
done
for daemon in slurmd slurmctld munged; do # munged last: the others say goodbye through it
    [[ -f $folder/$daemon.pid ]] || continue
    pid=$(cat "$folder/$daemon.pid")
    kill "$pid" 2> /dev/null || continue
    for _ in {1..60}; do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.5
    done
done
