"""``python -m pconv`` is the command line ``pconv``."""

from pconv.cli import app

app()
