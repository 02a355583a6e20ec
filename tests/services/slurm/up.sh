#!/usr/bin/env bash
# Start a Slurm cluster of one node on this machine, from Debian 12's packages slurmctld, slurmd,
# slurm-client and munge; without systemd, cgroups or slurmdbd. Everything lies below $SLURM_BASE,
# nothing in /etc is read or written. What already runs there is kept.
#   . "$SLURM_BASE/env"    puts this cluster before any other
#   down.sh                stops it
# Variables: SLURM_BASE, NODE_CPUS, NODE_MEM_MB, NODE_GPUS (0 to 2, pretended: jobs get the
# variables of a GPU but no device), CONTROLLER_PORT, NODE_PORT.
set -euo pipefail
# shellcheck source=SCRIPTDIR/daemons.sh
. "$(dirname "$0")/daemons.sh"

cpus=${NODE_CPUS:-$(nproc)}
mem_mb=${NODE_MEM_MB:-$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)}
gpus=${NODE_GPUS:-0}
node=$(hostname -s)
wait_s=60

die() { echo "up.sh: $*" >&2; exit 1; }
die_with_log() { tail -n 20 "$2" >&2 || true; die "$1"; }
wait_for() { # wait_for COMMAND...
  local end=$((SECONDS + wait_s))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}
for tool in munged munge unmunge slurmctld slurmd sinfo scontrol srun; do
  command -v "$tool" >/dev/null || die "$tool not found; run tests/services/install.sh slurm"
done

umask 022
mkdir -p "$SLURM_BASE"/{bin,etc,run,log,spool/ctld,spool/d,munge}
SLURM_BASE=$(cd "$SLURM_BASE" && pwd -P)
# munged wants its socket where everyone may go, and nobody else may list it.
chmod 755 "$SLURM_BASE"
chmod 711 "$SLURM_BASE/munge"
munge=$SLURM_BASE/munge
export SLURM_CONF=$SLURM_BASE/etc/slurm.conf

cat >"$SLURM_CONF" <<CONF
ClusterName=onenode
SlurmctldHost=$node(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$munge/munge.socket
SlurmctldPort=${CONTROLLER_PORT:-6817}
SlurmdPort=${NODE_PORT:-6818}
SlurmctldPidFile=$SLURM_BASE/run/slurmctld.pid
SlurmdPidFile=$SLURM_BASE/run/slurmd.pid
SlurmctldLogFile=$SLURM_BASE/log/slurmctld.log
SlurmdLogFile=$SLURM_BASE/log/slurmd.log
StateSaveLocation=$SLURM_BASE/spool/ctld
SlurmdSpoolDir=$SLURM_BASE/spool/d
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagateResourceLimits=NONE
ReturnToService=2
# What can never run here is refused at once; it would wait for ever.
EnforcePartLimits=ALL
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
# Ended jobs stay visible: the executor asks squeue, there being no slurmdbd for sacct.
MinJobAge=3600
KillWait=5
SlurmdParameters=config_overrides
CONF
node_gpus=
if [ "$gpus" -gt 0 ]; then
  # Slurm wants a device file for each GPU; with no cgroups it does nothing to it.
  printf 'Name=gpu File=%s\n' /dev/null /dev/zero | head -n "$gpus" >"$SLURM_BASE/etc/gres.conf"
  echo GresTypes=gpu >>"$SLURM_CONF"
  node_gpus="Gres=gpu:$gpus"
fi
cat >>"$SLURM_CONF" <<CONF
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$mem_mb $node_gpus State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
CONF

# snakemake-executor-plugin-slurm-jobstep drops SLURM_CONF before it calls srun inside a job, so
# srun must find the cluster by itself.
printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" \
  >"$SLURM_BASE/bin/srun"
chmod 755 "$SLURM_BASE/bin/srun"
# shellcheck disable=SC2016 # $PATH is expanded by who reads the file
printf 'export SLURM_CONF=%q PATH=%q:"$PATH"\n' "$SLURM_CONF" "$SLURM_BASE/bin" >"$SLURM_BASE/env"

if [ ! -s "$munge/munge.key" ]; then
  (umask 077 && head -c 1024 /dev/urandom >"$munge/munge.key")
fi
if ! pid_of munged >/dev/null; then
  rm -f "$munge"/munge.socket*
  munged --key-file="$munge/munge.key" --socket="$munge/munge.socket" \
    --pid-file="$SLURM_BASE/run/munged.pid" --seed-file="$munge/seed" \
    --log-file="$SLURM_BASE/log/munged.log" || die_with_log "munged: no start" "$SLURM_BASE/log/munged.log"
fi
munge_answers() { munge -n -S "$munge/munge.socket" | unmunge -S "$munge/munge.socket"; }
wait_for munge_answers || die_with_log "munged does not answer" "$SLURM_BASE/log/munged.log"

start() { # start NAME
  pid_of "$1" >/dev/null || "$1" -f "$SLURM_CONF" 2>>"$SLURM_BASE/log/$1.stderr" ||
    die_with_log "$1 did not start" "$SLURM_BASE/log/$1.log"
}
controller_answers() { scontrol ping | grep -q 'is UP'; }
node_is_up() { sinfo --noheader --nodes="$node" --format=%t | grep -qxE 'idle|mix|alloc|comp'; }
start slurmctld
wait_for controller_answers ||
  die_with_log "slurmctld does not answer" "$SLURM_BASE/log/slurmctld.log"
start slurmd
wait_for node_is_up || die_with_log "the node does not come up" "$SLURM_BASE/log/slurmd.log"
echo "SLURM_CONF=$SLURM_CONF"
