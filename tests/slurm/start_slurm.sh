#!/usr/bin/env bash
# Start a Slurm of one node, this machine, with two CPUs and no GPU: tests/slurm/start_slurm.sh FOLDER
# It needs Debian's slurm-wlm and munge (sbatch, slurmctld, slurmd, munged), but neither root nor /etc: configuration,
# keys, sockets, logs and jobs all live in FOLDER. Then: export SLURM_CONF=FOLDER/slurm.conf; stop_slurm.sh ends it.
set -euo pipefail

if [[ $# -ne 1 ]]; then
    echo "usage: [SLURM_PORT=16817] $0 FOLDER" >&2
    exit 2
fi
mkdir -p "$1/spool" "$1/state"
folder=$(cd "$1" && pwd)
port=${SLURM_PORT:-16817} # and the next one; not Slurm's own, in case there is a real one
user=$(id -un)
host=$(hostname -s)
export PATH=$PATH:/usr/sbin SLURM_CONF=$folder/slurm.conf

cat > "$SLURM_CONF" <<CONF
ClusterName=mmrobust
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
# after cred_expire seconds, not 120, a requeued job starts again
AuthInfo=socket=$folder/munge.socket,cred_expire=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# neither cgroups nor a database, which a machine may not have
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# a job is only requeued if it asks for it
JobRequeue=0
KillWait=5
# the node has two CPUs whatever the machine has, and comes back when it answers again
SlurmdParameters=config_overrides
ReturnToService=1
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 CPUs=2
PartitionName=cpu Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF

[[ -f $folder/munge.key ]] || (umask 077 && head -c 128 /dev/urandom > "$folder/munge.key")
# --force: a folder that others cannot enter will do, because every process here is this user's
munged --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" --pid-file "$folder/munged.pid" \
    --log-file "$folder/munged.log" --seed-file "$folder/munged.seed" 2> /dev/null
slurmctld
slurmd
for _ in {1..60}; do
    [[ $(sinfo --noheader --format %T 2> /dev/null) == idle ]] && exit 0
    sleep 0.5
done
echo "the node did not become idle; see $folder/*.log" >&2
exit 1
