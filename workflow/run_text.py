"""What a person reads of a run in MLflow: its name, its description, the names of its numbers."""

import json
from collections.abc import Mapping
from math import isfinite, isnan, nan
from typing import Any

from pconv.errors import PConvError
from workflow.params import read_params
from workflow.presets import PRESETS
from workflow.sections import Params

_NAMED_CHANGES = 3
_MAX_TEXT = 6000  # of a parameter's value
_DECIDE_A_TRAINING = ("download", "augment", "masks", "train")
# Refuse or warn of data, and change none; a photo of more than max_pixels is left out.
_REFUSE = ("download.expected_", "download.max_rejected")

_PICTURES = ("hero", "curves")
_ARTIFACT = "get-artifact?run_uuid={run}&path="  # as MLflow's own pages ask for one
_PAGE = "#/experiments/{experiment}/runs/{run}/artifacts/report/index.html"
_SPEED = {"seconds", "images_per_s", "wait_share"}
_FIRST = ("valid/hole_psnr", "valid/hole_l1", "train/total")
_LAST = ("train/phase", "train/learning_rate")
# MLflow sorts its sections by name: these two stand before and after those of the epochs.
_HEADLINE, _VALUES = "headline", "values"

ABOUT_EXPERIMENT = """Image inpainting with partial convolutions: one run is one training and its \
evaluation; evaluated again with other parameters, it has a run below for that. Tick two runs and \
*Compare*: the parameters that differ, the curves over each other, the network's numbers over all \
kinds of holes, `headline/METRIC`, and every number of the report, `values/METHOD/KIND/METRIC`."""
ABOUT_MODEL = """Fills the holes of photographs: `pconv fill photo.jpg --mask mask.png --weights \
models:/{name}@best -o filled.png`. The alias `best` is at the version with the highest PSNR in \
the holes of the held-out pairs."""

Record = Mapping[str, float | None]  # what a training says of an epoch
Changes = dict[str, tuple[object, object]]  # parameter: (in the preset, in this run)


def flatten(values: Mapping[str, object], separator: str = ".") -> dict[str, Any]:
    """Return nested mappings as one, the keys joined: ``{"a": {"b": 1}}`` is ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = flatten(value, separator)
            flat |= {f"{key}{separator}{name}": item for name, item in inner.items()}
        else:
            flat[key] = value
    return flat


def nearest_preset(params: Params) -> tuple[str, Changes]:
    """Return the preset from which the fewest numbers differ, and those that do.

    Only what decides a training counts. Without a preset that can be read the name is empty.
    """
    found = {}
    for path in sorted(PRESETS.glob("*.yaml")):
        try:
            found[path.stem] = _changes(read_params(path), params)
        except PConvError:
            continue  # somebody's draft: no reason to go without a name
    if not found:
        return "", {}
    name = min(found, key=lambda preset: len(found[preset]))
    return name, found[name]


def run_name(params: Params | None, kind: str, fingerprint: str) -> str:
    """Return the name of a run: ``sample style_weight=60.0 1a2b3c4d``, for example."""
    preset, changes = nearest_preset(params) if params else ("", {})
    words = [preset] if preset else []
    words += [kind] if kind != "pconv" or not preset else []
    return " ".join([*words, *_named(changes), fingerprint[:8]])


def evaluation_name(first: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Return the name of an evaluation's run: ``evaluation sample.seed=2``, for example.

    Args:
        first: Parameters of the training's run, which has its first evaluation.
        parameters: Of this one.
    """
    changes: Changes = {k: (first.get(k), v) for k, v in parameters.items() if first.get(k) != v}
    return " ".join(["evaluation", *_named(changes)])


def description(
    params: Params | None, fingerprint: str, *, table: str = "", has_report: bool = False
) -> str:
    """Return the description of a run, in Markdown.

    Args:
        params: Its parameters, if they are known.
        fingerprint: Of the run.
        table: Results, as a Markdown table.
        has_report: Show the pictures of the report, and link to it, by the places ``{run}`` and
            ``{experiment}``.
    """
    parts = [_difference(*nearest_preset(params)) if params else "", table]
    if has_report:
        parts += [f"![{name}]({_ARTIFACT}report/figures/{name}.png)" for name in _PICTURES]
        parts += [f"[The whole report]({_PAGE})"]
    parts += [f"Fingerprint of training and data: `{fingerprint}`"]
    return "\n\n".join(part for part in parts if part)


def _difference(preset: str, changes: Changes) -> str:
    if not preset:
        return ""
    if not changes:
        return f"The preset `{preset}` as it is."
    rows = [f"| `{key}` | {there} | **{here}** |" for key, (there, here) in changes.items()]
    head = f"| other than in the preset `{preset}` | there | here |\n|---|--:|--:|"
    # A list of model versions shows the first words of each as plain text.
    line = f"{' '.join(_named(changes))}; else the preset `{preset}`.\n"
    return "\n".join([line, head, *rows])


def _named(changes: Changes) -> list[str]:
    """Return the first changes as ``key=value``, and how many more there are."""
    named = list(changes.items())[:_NAMED_CHANGES]
    more = [f"(+{len(changes) - len(named)})"] if len(changes) > len(named) else []
    return [f"{key.removeprefix('train.')}={here}" for key, (_, here) in named] + more


def _changes(preset: Params, params: Params) -> Changes:
    there, here = (
        flatten({name: getattr(p, name).model_dump(mode="json") for name in _DECIDE_A_TRAINING})
        for p in (preset, params)
    )
    differ = [key for key in here if there[key] != here[key] and not key.startswith(_REFUSE)]
    return {key: (there[key], here[key]) for key in differ}


def numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Return nested numbers flattened, as ``a/b/c``, without what is no finite number.

    Characters that MLflow does not allow in a name become ``_``.
    """
    return {
        "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name): float(value)
        for name, value in flatten(values, "/").items()
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    }


def changed_numbers(known: Mapping[str, float], values: Mapping[str, object]) -> dict[str, float]:
    """Return which of nested numbers differ from those known; NaN where a measured one is gone."""
    new = numbers(values)
    changed = {key: value for key, value in new.items() if known.get(key) != value}
    there = [key for key, value in known.items() if not isnan(value)]
    gone = [key for key in there if is_measured(key) and key not in new]
    return changed | dict.fromkeys(gone, nan)


def measured_numbers(
    metrics: Mapping[str, object], headline: Mapping[str, object]
) -> dict[str, object]:
    """Return the numbers of a report, nested, in the sections that MLflow shows.

    Args:
        metrics: What ``metrics.json`` holds.
        headline: What ``headline.json`` holds; nothing where no network was measured.
    """
    return {_HEADLINE: headline.get("all", {}), _VALUES: metrics}


def is_measured(name: str) -> bool:
    """Return whether a number is one of a report, and not of an epoch or of the machine."""
    # Older runs have METHOD/KIND/METRIC.
    return name.startswith(f"{_HEADLINE}/") or name.count("/") >= 2


def epoch_numbers(record: Record) -> dict[str, float]:
    """Return the numbers of an epoch, sorted by name into what MLflow draws side by side.

    Those that tell most come first: a run's page lists numbers as they arrive.
    """

    def name(key: str) -> str:
        if key.startswith("valid_"):
            return f"valid/{key.removeprefix('valid_')}"
        return f"speed/{key}" if key in _SPEED else f"train/{key}"

    def place(name: str) -> int:
        return _FIRST.index(name) if name in _FIRST else len(_FIRST) + (name in _LAST)

    found = numbers({name(key): value for key, value in record.items() if key != "epoch"})
    return {name: found[name] for name in sorted(found, key=place)}


def as_yaml(value: object) -> str:
    """Return a value as ``params.yaml`` has it, but for quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def texts(nested: Mapping[str, object]) -> dict[str, str]:
    """Return nested values flattened, as ``section.key``, and as text that a server takes."""
    return {key: as_yaml(value)[:_MAX_TEXT] for key, value in flatten(nested).items()}
