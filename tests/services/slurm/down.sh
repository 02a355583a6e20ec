#!/usr/bin/env bash
# Stop what up.sh started at $SLURM_BASE, its jobs first, and nothing else.
#   down.sh --purge    removes the folder too
set -uo pipefail
# shellcheck source=SCRIPTDIR/daemons.sh
. "$(dirname "$0")/daemons.sh"

[ -d "$SLURM_BASE" ] || { echo "down.sh: nothing at $SLURM_BASE"; exit 0; }
SLURM_BASE=$(cd "$SLURM_BASE" && pwd -P)
export SLURM_CONF=$SLURM_BASE/etc/slurm.conf
status=0

ended() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
stop() { # stop NAME
  local pid
  pid=$(pid_of "$1") || return 0
  kill -TERM "$pid"
  for _ in {1..150}; do ended "$pid" && return 0; sleep 0.1; done
  echo "down.sh: $1 (pid $pid) would not end; killing it" >&2
  kill -KILL "$pid"
  status=1
}

if pid_of slurmctld >/dev/null && pid_of munged >/dev/null; then
  # Or their slurmstepd would outlive slurmd.
  timeout 20 scancel --quiet --user="$(id -un)"
  for _ in {1..100}; do
    [ -n "$(timeout 10 squeue --noheader)" ] || break
    sleep 0.1
  done
fi
for name in slurmd slurmctld munged; do stop "$name"; done
[ "${1:-}" != --purge ] || rm -rf -- "$SLURM_BASE"
exit $status
