# A second way to run dvc.yaml: the same stages, shard by shard, on many cores or machines.
from workflow.check import check
from workflow.command import refusing_in_one_line, use_this_python
from workflow.dvc_record import tell_unrecorded
from workflow.graph import load_stages, all_outputs
from workflow.params import read_params
from workflow.recovery import (
    distrust_future,
    distrust_restored,
    hold_snakemake,
    refuse_beside_dvc,
)

STAGES = load_stages()
use_this_python()
with refusing_in_one_line():
    if workflow.is_main_process:
        refuse_beside_dvc()
    # What is wrong is told before a job starts: by then its outputs are deleted.
    params = check() if workflow.is_main_process else read_params()
if workflow.is_main_process:
    hold_snakemake()
    distrust_future(path for stage in STAGES for path in all_outputs(stage))
    distrust_restored(params)


onsuccess:
    tell_unrecorded(
        STAGES, {path for job in workflow.dag.jobs for path in job.output}, params
    )


# The first rule is the default target; it must stand here, an included one would not count.
rule all:
    input:
        [path for stage in STAGES for path in all_outputs(stage)],


report: "workflow/report/workflow.rst"


include: "workflow/rules/stages.smk"
