"""The comparison shows every picture."""

import numpy as np
import pytest

from pconv.comparison import HOLE_COLOUR, side_by_side, with_holes


class TestWithHoles:
    """Holes are seen."""

    def test_values(self) -> None:
        """Known pixels stay, holes have the loud colour."""
        image, known = np.full((4, 5, 3), 9, np.uint8), np.ones((4, 5), bool)
        known[1, 2] = False
        shown = with_holes(image, known)
        assert (shown[known] == 9).all()
        assert shown[1, 2].tolist() == list(HOLE_COLOUR)


class TestSideBySide:
    """Pictures in rows."""

    @pytest.mark.parametrize("count", [1, 4, 7])
    def test_values(self, count: int) -> None:
        """Each picture is there in full, at its size if that is small."""
        pictures = {str(i): np.full((60, 90, 3), 20 * i + 10, np.uint8) for i in range(count)}
        sheet = side_by_side(pictures)
        for picture in pictures.values():
            assert (sheet == picture[0, 0]).all(axis=-1).sum() >= 60 * 90

    def test_reduced(self) -> None:
        """Large pictures are reduced."""
        sheet = side_by_side({"one": np.zeros((1000, 500, 3), np.uint8)}, side_px=100)
        assert 50 * 100 <= (sheet == 0).all(axis=-1).sum() <= 50 * 100 + 200
        assert max(sheet.shape) < 200
