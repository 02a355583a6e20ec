# shellcheck shell=bash
# What up.sh, down.sh and status.sh share: where the cluster lies, and which processes are its own.
SLURM_BASE=${SLURM_BASE:-${TMPDIR:-/tmp}/slurm-one-node}
export PATH="$PATH:/usr/sbin:/sbin"

pid_of() { # pid_of NAME: print the pid of this cluster's living daemon, or fail
  local pid
  pid=$(cat "$SLURM_BASE/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] &&
    grep -qx "$1" "/proc/$pid/comm" 2>/dev/null &&
    grep -qaF -- "$SLURM_BASE/" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}
