"""Places in a page that commands fill."""

from hypothesis import given
from hypothesis import strategies as st

from workflow.places import places, with_places_filled

PAGE = """# Page

<!-- made: the-one -->
<!-- end -->
prose <!-- end --> prose
<!-- other: three -->
kept
<!-- end -->
<!-- made: two -->
old
and older
<!-- end -->
"""


def test_places() -> None:
    """The places of one marker, in their order."""
    assert places(PAGE, "made") == ["the-one", "two"]
    assert places(PAGE, "other") == ["three"]
    assert places(PAGE, "ma") == []
    assert places(PAGE, "m.de") == []


@given(st.text(st.characters(exclude_characters="<\r"), max_size=30))
def test_filled(text: str) -> None:
    """Each place holds its text as it is, all else stays, and another time changes nothing."""
    filled = with_places_filled(PAGE, "made", lambda name: f"{name}: {text}")
    before, between, after = PAGE.partition("<!-- end -->\nprose <!-- end")
    assert filled == (
        f"{before}the-one: {text}\n{between}" + after.replace("old\nand older", f"two: {text}")
    )
    assert with_places_filled(filled, "made", lambda name: f"{name}: {text}") == filled
