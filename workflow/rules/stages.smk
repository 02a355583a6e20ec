# One rule a stage, made from dvc.yaml. A sharded stage has one job a shard, `NAME_shard`, and a
# rule NAME that asks for all of them.
from workflow.graph import STAGE_ENVIRONMENT, all_outputs, followers, job_inputs


wildcard_constraints:
    shard=r"\d{4}",


def marked(stage, paths):
    """Return the paths as Snakemake wants them: folders flagged, without the slash at the end."""
    return [
        directory(path.rstrip("/")) if stage.shards or path.endswith("/") else path
        for path in paths
    ]


# The loop is over long before a job runs: what a job needs travels in `params`.
for stage in STAGES:

    rule:
        name:
            f"{stage.name}_shard" if stage.shards else stage.name
        input:
            [path.rstrip("/") for path in job_inputs(stage, STAGES)],
        output:
            marked(
                stage,
                stage.shard_outputs("{shard}") if stage.shards else stage.outputs,
            ),
        log:
            f"logs/{stage.name}" + ("/{shard}.log" if stage.shards else ".log"),
        benchmark:
            f"benchmarks/snakemake/{stage.name}"
            + ("/{shard}.tsv" if stage.shards else ".tsv")
        conda:
            STAGE_ENVIRONMENT
        threads: stage.resources.threads
        resources:
            mem_mb=stage.resources.memory_mb,
            runtime=stage.resources.runtime_min,
            gpus=stage.resources.gpus,
        params:
            command=(
                lambda wildcards, stage=stage: (
                    stage.shard_command(wildcards.shard)
                    if stage.shards
                    else stage.command
                )
            ),
        message:
            stage.description + (" (shard {wildcards.shard})" if stage.shards else "")
        shell:
            "{params.command} > {log} 2>&1 || {{ cat {log} >&2; exit 2; }}"

    if stage.shards:

        rule:
            name:
                stage.name
            input:
                all_outputs(stage),
                followers(stage, STAGES),
