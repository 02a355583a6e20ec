#!/usr/bin/env bash
# Start a job script of Snakemake as a Kubernetes Job in this folder; print the Job's name.
#   submit.sh CPUS MEMORY_MB GPUS MINUTES SCRIPT
# PCONV_IMAGE is the image (pconv:0.1.0), PCONV_CLAIM the claim of the volume that holds this
# folder (pconv), PCONV_MOUNT where the volume is mounted, here and in the pods (this folder).
set -euo pipefail
cpus=$1 memory_mb=$2 gpus=$3 minutes=$4 script=$5

gpu_limit=''
environment=''
# Kubernetes refuses a GPU in `requests` alone; in `limits` alone it counts for both.
if [ "$gpus" -gt 0 ]; then gpu_limit="nvidia.com/gpu: $gpus"; fi
# A pod starts without this shell's variables.
if [ -n "${MLFLOW_TRACKING_URI:-}" ]; then
  environment="{name: MLFLOW_TRACKING_URI, value: \"$MLFLOW_TRACKING_URI\"}"
fi

kubectl create --output name --filename - <<YAML
apiVersion: batch/v1
kind: Job
metadata:
  generateName: pconv-
  labels: {app: pconv}
spec:
  backoffLimit: 0 # a second attempt is Snakemake's to make
  ttlSecondsAfterFinished: 86400
  template:
    metadata:
      labels: {app: pconv}
    spec:
      restartPolicy: Never
      # The pod's own, which starts when a node takes it; the Job's would count the waiting, too.
      activeDeadlineSeconds: $((minutes * 60))
      containers:
        - name: job
          image: "${PCONV_IMAGE:-pconv:0.1.0}"
          workingDir: "$PWD"
          command: [/bin/sh, "$script"]
          env: [$environment]
          resources:
            requests: {cpu: "$cpus", memory: "${memory_mb}M"}
            limits: {memory: "${memory_mb}M", $gpu_limit}
          volumeMounts:
            - {name: project, mountPath: "${PCONV_MOUNT:-$PWD}"}
            - {name: shared-memory, mountPath: /dev/shm}
      volumes:
        - name: project
          persistentVolumeClaim: {claimName: "${PCONV_CLAIM:-pconv}"}
        # The processes of one training pass their gradients here; a pod has 64 MB without.
        - name: shared-memory
          emptyDir: {medium: Memory}
YAML
