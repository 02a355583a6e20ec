"""Which file names are safe to make from foreign ones."""

import unicodedata

# A file system allows 255 bytes; a file that is not yet finished carries a longer temporary name.
_MAX_BYTES = 128
_UNPRINTABLE = ("Cc", "Cs")  # control characters, and bytes that are no text


def flaw_in_name(name: str) -> str | None:
    """Say what is wrong with one component of a foreign path, or None where nothing is."""
    if name in ("", ".", ".."):
        return f"a part of its path is {name!r}"
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        return "its name holds control characters or is no valid text"
    if len(name.encode("utf-8")) > _MAX_BYTES:
        return f"its name is longer than {_MAX_BYTES} bytes"
    return None


def composed(name: str) -> str:
    """Return a name with each accent in its letter; a Mac stores the two apart."""
    return unicodedata.normalize("NFC", name)


def without_control(name: str) -> str:
    """Return a name with ``_`` for each control character and for what is no valid text.

    Such names are allowed in a user's own folders; in tables, logs and pages they would be none.
    """
    return "".join("_" if unicodedata.category(one) in _UNPRINTABLE else one for one in name)


def folded(name: str) -> str:
    """Return a name as a file system that ignores case and Unicode composition sees it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
