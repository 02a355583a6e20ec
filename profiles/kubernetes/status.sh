#!/usr/bin/env bash
# Say `success`, `failed` or `running` of the Job of this name, as Snakemake wants to hear it.
set -uo pipefail

answer=$(kubectl get "$1" --ignore-not-found --output \
  jsonpath='found {.status.succeeded} {range .status.conditions[*]}{.type} {end}' 2>/dev/null) ||
  { echo running; exit; } # the server does not answer; ask again later
case $answer in
  "found 1"*) echo success ;;
  *Failed*) echo failed ;;
  found*) echo running ;;
  *) echo failed ;; # somebody deleted it
esac
