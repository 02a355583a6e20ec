"""Load in small: what `tests.hostile.load` measures at length."""

from pathlib import Path

import pytest

from tests.hostile.load import Curve, fill_many, use_page
from tests.hostile.record import is_long

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(is_long(), reason="`make hostile` runs tests.hostile.load itself"),
]


def test_fill() -> None:
    """Every photograph of a folder is filled."""
    curve, _, lost = fill_many(40)
    assert lost == 0
    assert max(curve.mib) > 50


def test_page() -> None:
    """Users that come at once are all served, some of them after a wait."""
    curve, crowd = use_page(users=6, seconds=6)
    assert crowd.failures == []
    assert crowd.answers["/fill 200"] > 0
    assert curve.mib


def test_growth() -> None:
    """A process that keeps what it has seen is told from one that does not."""
    seconds = [float(n) for n in range(400)]
    assert Curve(seconds, [500.0] * 400).growth_mib == pytest.approx(0)
    assert Curve(seconds, [500 + 0.5 * n for n in range(400)]).growth_mib == pytest.approx(
        100, 0.02
    )


def test_picture(tmp_path: Path) -> None:
    """The curve is drawn."""
    Curve([0.0, 1.0], [1.0, 2.0]).draw(tmp_path / "curve.png", "memory")
    assert (tmp_path / "curve.png").stat().st_size > 1000
