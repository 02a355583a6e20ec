"""A stage whose numbers were edited while it ran."""

from pconv.errors import ParameterError


def refuse() -> None:
    """Refuse what a stage is about to write, as `workflow.stage_params.StartedWith` would.

    Raises:
        ParameterError: Always.
    """
    raise ParameterError("overtaken: edited meanwhile")
