#!/usr/bin/env bash
# Install the Debian packages that the tests of a service need (as root):
#   tests/services/install.sh slurm
set -euo pipefail

case "${1:-}" in
  slurm) packages=(slurmctld slurmd slurm-client munge) ;;
  *) echo "install.sh: ${1:-nothing} asked for; wanted one of: slurm" >&2; exit 2 ;;
esac

if dpkg --status "${packages[@]}" >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" -ne 0 ]; then
  echo "install.sh: ${packages[*]} are not installed; run this as root" >&2
  exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
