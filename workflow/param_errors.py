"""What is said of a key or value of ``params.yaml`` that is not allowed: one line each."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflow.sections import Params

_RENAMED = {"train.validation_pairs": "masks.held_out"}


def explain_problems(path: Path, error: ValidationError) -> str:
    """Say, a line for each, which keys of a parameter file are wrong, and what is allowed."""
    # What is there and wrong says more than what is missing.
    problems = _without_misspelt(error.errors())
    problems.sort(key=lambda problem: problem["type"] == "missing")
    return "\n".join(_explain(path, problem) for problem in problems)


def nearest(name: str, known: list[str]) -> str:
    """Return `` (did you mean NAME?)`` of the known name most like this one, or nothing."""
    return "".join(f" (did you mean {near}?)" for near in _near(name, known))


def _without_misspelt(problems: Sequence[Any]) -> list[Any]:
    """Leave out that a key is missing where another one is told to be this one, misspelt."""
    meant = set()
    for problem in problems:
        if problem["type"] == "extra_forbidden":
            *section, key = map(str, problem["loc"])
            meant |= {(*section, near) for near in _near(key, _fields_at(section))}
    return [p for p in problems if p["type"] != "missing" or tuple(p["loc"]) not in meant]


def _explain(path: Path, problem: Any) -> str:
    """Say in one line which key is wrong, what was found and what is allowed."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    found = problem["input"]
    if problem["type"] == "extra_forbidden":
        allowed = _fields_at(location[:-1])
        hint = _elsewhere(key) or nearest(location[-1], allowed)
        return f"{path}: {key}: there is no such key{hint}; allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return (
            f"{path}: {key}: is missing; every parameter must be given{_meaning(location)}; the "
            "files in presets/ have examples"
        )
    hint = ""
    if isinstance(found, str) and _looks_like_number(found):
        hint = f"; YAML reads what stands in quotes as text: write {found}"
    if problem["type"] == "value_error":  # ours: it says itself what was found
        return ": ".join([str(path), *location, str(problem["ctx"]["error"])])
    return f"{path}: {key}: found {found!r:.200}; {problem['msg'].lower()}{hint}"


def _elsewhere(key: str) -> str:
    """Return `` (it is SECTION.KEY)`` if that is what a misplaced or renamed key is now."""
    *_, name = key.split(".")
    sections = [section for section in Params.model_fields if name in _fields_at([section])]
    now = _RENAMED.get(key) or (f"{sections[0]}.{name}" if len(sections) == 1 else None)
    return f" (it is {now})" if now else ""


def _meaning(location: list[str]) -> str:
    """Return `` (DESCRIPTION)`` of a key, or nothing of a section."""
    section, *key = location
    fields = getattr(Params.model_fields[section].annotation, "model_fields", {})
    return f" ({fields[key[0]].description})" if key else ""


def _fields_at(location: list[str]) -> list[str]:
    model: Any = Params
    for name in location:
        field = getattr(model, "model_fields", {}).get(name)
        model = field.annotation if field else None
    return sorted(getattr(model, "model_fields", {}))


def _near(name: str, known: list[str]) -> list[str]:
    """Return the known name that is most like this one, if any is."""
    return difflib.get_close_matches(name, known, n=1)


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
