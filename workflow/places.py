"""Places in a Markdown page that a command fills, between prose that people write.

A place looks like this; ``results`` says which command fills it, NAME with what:

    <!-- results: NAME -->
    <!-- end -->
"""

import re
from collections.abc import Callable


def places(page: str, marker: str) -> list[str]:
    """Return the names of a page's places, in their order."""
    return [match["name"] for match in _place(marker).finditer(page)]


def with_places_filled(page: str, marker: str, text_of: Callable[[str], str]) -> str:
    """Return a page with a text in each of its places, instead of what stood there."""
    return _place(marker).sub(
        lambda match: f"{match['start']}{text_of(match['name'])}\n{match['end']}", page
    )


def _place(marker: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<start><!-- {re.escape(marker)}: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)",
        re.DOTALL,
    )
