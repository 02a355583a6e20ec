#!/usr/bin/env bash
# Delete the Jobs of these names, and their pods.
exec kubectl delete --wait=false --ignore-not-found "$@"
