# One rule a stage, made from dvc.yaml. A sharded stage has one job a shard, `NAME_shard`, and a
# rule NAME that asks for all of them.
from workflow.graph import (
    all_outputs,
    followers,
    is_result,
    job_inputs,
    job_resources,
)


wildcard_constraints:
    shard=r"\d{4}",


def flagged(stage, path):
    """Return an output as Snakemake wants it: a folder flagged, without the slash at its end."""
    is_folder = stage.shards or path.endswith("/")
    output = directory(path.rstrip("/")) if is_folder else path
    if not is_result(stage, STAGES):
        return output
    # What nobody reads on is what people read: it goes into `snakemake --report`.
    return report(
        output,
        caption="../report/result.rst",
        category=stage.name,
        labels={"result": "{name}" if is_folder else path},
        patterns=["{name}"] if is_folder else [],
    )


# The loop is over long before a job runs: what a job needs travels in `params`.
for stage in STAGES:

    rule:
        name:
            stage.job_name
        input:
            [path.rstrip("/") for path in job_inputs(stage, STAGES)],
        output:
            [
                flagged(stage, path)
                for path in (
                    stage.shard_outputs("{shard}") if stage.shards else stage.outputs
                )
            ],
        log:
            f"logs/{stage.job_path}.log",
        conda:
            "../envs/pconv.yaml"  # for --software-deployment-method conda
        threads: stage.resources.threads
        resources:
            **job_resources(stage),
        params:
            command=(
                lambda wildcards, resources, stage=stage: stage.job_command(
                    resources.get("gpu", 0), wildcards.get("shard")
                )
            ),
            description=stage.description,
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
