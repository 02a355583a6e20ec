#!/usr/bin/env bash
# Install the Debian packages that the tests of services need (as root, or with sudo that asks for
# no password); what is there already is left alone:
#   tests/services/install.sh slurm
#   tests/services/install.sh chromium postgresql
set -euo pipefail

die() { echo "install.sh: $*" >&2; exit 2; }

packages=()
for service in "$@"; do
  case "$service" in
    chromium) packages+=(chromium) ;;
    postgresql) packages+=(postgresql curl) ;;
    slurm) packages+=(slurmctld slurmd slurm-client munge) ;;
    *) die "$service asked for; wanted some of: chromium, postgresql, slurm" ;;
  esac
done
[ ${#packages[@]} -gt 0 ] || die "nothing asked for; wanted some of: chromium, postgresql, slurm"

if dpkg --status "${packages[@]}" >/dev/null 2>&1; then exit 0; fi
command -v apt-get >/dev/null || die "${packages[*]} are not installed, and there is no apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  sudo -n true 2>/dev/null || die "${packages[*]} are not installed; run this as root"
  as_root=(sudo -n)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${packages[@]}"
