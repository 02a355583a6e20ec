#!/usr/bin/env bash
# Say which daemons of the cluster at $SLURM_BASE run, its node and its jobs. Exit status 1 if one
# is missing.
set -uo pipefail
# shellcheck source=SCRIPTDIR/daemons.sh
. "$(dirname "$0")/daemons.sh"

status=0
for name in munged slurmctld slurmd; do
  if pid=$(pid_of "$name"); then echo "$name: pid $pid"; else echo "$name: not running"; status=1; fi
done
[ $status -ne 0 ] && exit $status
export SLURM_CONF=$SLURM_BASE/etc/slurm.conf
sinfo
squeue --states=all --format='%i %k %T'
