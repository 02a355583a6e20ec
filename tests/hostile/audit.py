"""Ask pip-audit whether a pinned dependency has a known hole, where its database can be reached.

python -m tests.hostile.audit
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile.record import Attempt, is_long, write

ROOT = Path(__file__).parents[2]
AREA = "Dependencies"
PATIENCE_S = 300


def findings(report: str) -> tuple[int, list[str]]:
    """Return how many dependencies pip-audit looked up, and the known holes of those."""
    looked_up = [one for one in json.loads(report)["dependencies"] if "skip_reason" not in one]
    holes = [
        f"{one['name']} {one['version']}: {v['id']}" for one in looked_up for v in one["vulns"]
    ]
    return len(looked_up), holes


def audit() -> tuple[int, list[str], str]:
    """Run pip-audit on the lock file.

    Returns:
        How many dependencies it looked up, the known holes of those, and why none was looked up.
    """
    command = [Path(sys.executable).with_name("pip-audit"), "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", ROOT / "requirements.lock"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        return *findings(done.stdout), "its database answers for none of them"
    except subprocess.TimeoutExpired:
        return 0, [], f"no answer in {PATIENCE_S} s"
    except json.JSONDecodeError:  # without a connection it prints a traceback and no report
        return 0, [], (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> None:
    """Print what was found; end with status 1 if that is a hole."""
    count, holes, reason = audit()
    if not count:
        said = f"skipped: pip-audit looked nothing up ({reason})"
    else:
        said = f"{count} dependencies looked up: {'; '.join(holes) or 'no known hole'}"
    sys.stdout.write(f"audit: {said}\n")
    if is_long():
        tried = "pip-audit over requirements.lock"
        write("tests.hostile.audit", [Attempt(AREA, tried, said, count, len(holes))])
    sys.exit(bool(holes))


if __name__ == "__main__":
    main()
