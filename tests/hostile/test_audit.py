"""What a report of pip-audit is read as."""

import json

from tests.hostile.audit import findings

CLEAN = {"name": "numpy", "version": "2.4.0", "vulns": []}
HOLED = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
UNKNOWN = {"name": "zipp", "skip_reason": "not found"}


def test_findings() -> None:
    """Holes are named; what the database does not know was not looked up."""
    report = json.dumps({"dependencies": [CLEAN, HOLED, UNKNOWN], "fixes": []})
    assert findings(report) == (2, ["pillow 1.0: PYSEC-1", "pillow 1.0: PYSEC-2"])


def test_no_database() -> None:
    """A database that knows none of the dependencies is one that could not be asked."""
    assert findings(json.dumps({"dependencies": [UNKNOWN]})) == (0, [])
