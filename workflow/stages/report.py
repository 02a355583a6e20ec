"""report: the tables, the figures and the page.

Reads the measured pairs, computes the means and their intervals, fills the few pairs that are
shown, and writes everything a reader looks at. Nothing written holds a date, a commit or a run
id: the same inputs on one machine give the same bytes.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from pconv.atomic import atomic_file, atomic_folder
from workflow.command import run_command
from workflow.dvc_hash import dvc_hash
from workflow.pairs import read_pairs
from workflow.reporting import gallery, provenance, tables
from workflow.reporting.charts import share_csv
from workflow.reporting.curves import read_curves
from workflow.reporting.evaluation import Evaluation, check_complete, read_evaluation
from workflow.reporting.examples import Sources, choose, load_examples, shown_methods
from workflow.reporting.gallery import Material
from workflow.reporting.names import method_label
from workflow.reporting.page import Content, Shown, Wipe, write_page
from workflow.reporting.summary import Summary, compare, summarise
from workflow.reporting.words import (
    DEFINITIONS,
    features_sentence,
    interval_sentence,
    lead_sentences,
    phase_sentences,
)
from workflow.sections import ReportParams
from workflow.stage_params import nothing, start_stage
from workflow.tracking import log_report

SHARE_FILE = "psnr_by_hole_share.csv"


@dataclass(frozen=True)
class Inputs:
    """What the stage reads; each a file or folder that another stage made."""

    evaluation: Path
    sample: Path
    models: Path
    raw: Path
    augmented: Path
    train_masks: Path
    masks: Path


@dataclass(frozen=True)
class Outputs:
    """What the stage writes."""

    page: Path
    table: Path
    csv: Path
    metrics: Path
    headline: Path
    curves: Path
    figures: Path


@dataclass(frozen=True)
class Numbers:
    """What was measured, and what came of it."""

    evaluation: Evaluation
    summary: Summary
    comparison: pd.DataFrame
    labels: dict[str, str]
    lead: list[str]
    features: str
    intervals: str

    def group_tables(self, *, first: Sequence[str] = ()) -> list[tables.Table]:
        """Return a table for every group of kinds that has pairs, some metrics first."""
        groups = self.summary.groups
        return [
            tables.group_table(self.summary, group, self.labels, first=first) for group in groups
        ]

    def share_tables(self) -> list[tables.Table]:
        """Return a table by kind and hole share for each of the metrics that have one."""
        return [
            tables.share_table(self.summary, column, self.labels) for column in tables.SHARE_METRICS
        ]

    def comparison_tables(self) -> list[tables.Table]:
        """Return the paired comparison by group; none if no network was measured."""
        return tables.comparison_tables(self.comparison, self.labels)


def write_report(
    params: ReportParams,
    inputs: Inputs,
    outputs: Outputs,
    *,
    before_writing: Callable[[], None] = nothing,
) -> None:
    """Write tables, figures and page.

    Args:
        params: The report's section of the parameters.
        inputs: What other stages made.
        outputs: Where to write.
        before_writing: Called when all is drawn; what it raises keeps the report before.

    Raises:
        DataError: If the evaluation is empty, damaged, or not of this sample.
    """
    pairs = read_pairs(inputs.sample)
    evaluation = read_evaluation(inputs.evaluation)
    check_complete(evaluation, {p.id for p in pairs}, inputs.evaluation, inputs.sample)
    about = provenance.weights_about(inputs.models)
    labels = {method: method_label(method, about) for method in evaluation.methods}
    numbers = _numbers(params, evaluation, about, labels, {pair.size_px for pair in pairs})
    choice = choose(
        evaluation,
        examples=params.examples,
        extremes=params.extremes,
        error_pair=params.error_pair,
    )
    methods = shown_methods(evaluation.methods, choice.judge, inputs.models)
    sources = Sources(inputs.models, inputs.raw, inputs.masks)
    by_id = {pair.id: pair for pair in pairs}
    material = Material(
        summary=numbers.summary,
        labels=labels,
        pairs=pairs,
        choice=choice,
        examples=load_examples(choice.ids, by_id, evaluation, methods, sources),
        methods=methods,
        checkpoints=sorted({int(words["epoch"]) for words in about.values() if "epoch" in words}),
        sources=sources,
        augmented=inputs.augmented,
        train_masks=inputs.train_masks,
    )
    facts = _facts(params, inputs, about)
    # Only now, and the slow part first: what is wrong with the inputs, or an interrupt while it
    # draws, leaves the report before it whole.
    with atomic_folder(outputs.figures) as folder:
        shown = gallery.draw_all(material, folder)
        (folder / SHARE_FILE).write_text(share_csv(numbers.summary), encoding="utf-8")
        before_writing()
    _write_tables(numbers, inputs, outputs)
    write_page(outputs.page, _content(numbers, material, shown, about, facts))


def _numbers(
    params: ReportParams,
    evaluation: Evaluation,
    about: dict[str, dict[str, str]],
    labels: dict[str, str],
    sizes: set[int],
) -> Numbers:
    draws, seed = params.bootstrap_draws, params.seed
    summary = summarise(evaluation, draws=draws, seed=seed)
    size_px = " and ".join(f"{size}x{size}" for size in sorted(sizes)) + " pixels"
    return Numbers(
        evaluation,
        summary,
        compare(evaluation, draws=draws, seed=seed),
        labels,
        [*lead_sentences(evaluation, summary, labels, size_px), *phase_sentences(about)],
        features_sentence(evaluation, summary),
        f"{DEFINITIONS} {interval_sentence(evaluation)}",
    )


def _write_tables(numbers: Numbers, inputs: Inputs, outputs: Outputs) -> None:
    _write(outputs.table, _markdown(numbers))
    _write(outputs.csv, tables.csv_text(numbers.summary, numbers.labels))
    tree = tables.metrics_tree(numbers.summary)
    for path, numbers_of in ((outputs.metrics, tree), (outputs.headline, tables.headline(tree))):
        _write(path, json.dumps(numbers_of, indent=2, sort_keys=True, allow_nan=False) + "\n")
    curves = read_curves(inputs.models)
    _write(outputs.curves, curves.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _markdown(numbers: Numbers) -> str:
    parts = [
        "# Results",
        *numbers.lead,
        numbers.features,
        f"Means over pairs. {numbers.intervals} In each row, the best of the methods measured on "
        "the most pairs is bold.",
        "## By kind",
        *(table.markdown() for table in numbers.group_tables()),
        "## Our network against the others",
        *(table.markdown() for table in numbers.comparison_tables()),
        "## By hole share",
        *(table.markdown() for table in numbers.share_tables()),
    ]
    return "\n\n".join(parts) + "\n"


def _content(
    numbers: Numbers,
    material: Material,
    shown: dict[str, Shown],
    about: dict[str, dict[str, str]],
    facts: dict[str, dict[str, str]],
) -> Content:
    choice = material.choice
    wiped = list(dict.fromkeys([*choice.hero, *choice.ec, *choice.or_]))
    return Content(
        lead=numbers.lead,
        features=numbers.features,
        intervals=numbers.intervals,
        hero=shown[gallery.HERO],
        wipes=[Wipe.of(example, numbers.labels) for example in material.chosen(wiped)],
        tables=[table.transposed() for table in numbers.group_tables(first=tables.PAGE_FIRST)],
        shares=numbers.share_tables(),
        comparisons=numbers.comparison_tables(),
        figures=[figure for name, figure in shown.items() if name != gallery.HERO],
        fingerprint=about.get(choice.judge, {}).get("fingerprint", "not recorded"),
        facts=facts,
    )


def _facts(
    params: ReportParams, inputs: Inputs, about: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """Return where the numbers come from, as tables of names and values."""
    paths = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    return {
        "Data, as in dvc.lock": {
            f"{path.as_posix()}{'/' if path.is_dir() else ''}": dvc_hash(path)
            for path in paths.values()
        },
        **{f"Weights {method}": dict(sorted(words.items())) for method, words in about.items()},
        "Parameters of this report": {k: str(v) for k, v in params.model_dump().items()},
        "Versions": provenance.versions(),
        "Hardware": provenance.hardware(),
    }


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Run the stage from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [field.name for kind in (Inputs, Outputs) for field in fields(kind)]
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    options = vars(parser.parse_args())
    inputs = Inputs(**{field.name: options[field.name] for field in fields(Inputs)})
    outputs = Outputs(**{field.name: options[field.name] for field in fields(Outputs)})
    params, refuse_edits = start_stage(ReportParams)
    write_report(params, inputs, outputs, before_writing=refuse_edits)
    refuse_edits()
    log_report(inputs.models, outputs.metrics.parent)


if __name__ == "__main__":
    run_command(main)
