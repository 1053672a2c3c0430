"""A reader of the output that goes away."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from domino_lightning.utils.streams import enduring_output
with enduring_output():
    for number in range(20000):
        print("a line", number)
        print("an error", number, file=sys.stderr)
open(sys.argv[1], "w").write("done")
"""


def test_a_command_goes_on_when_nobody_reads_it_any_more(tmp_path) -> None:  # type: ignore[no-untyped-def]
    command = f"{sys.executable} -c '{SCRIPT}' {tmp_path / 'end'} 2>&1 | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"a")
    assert (tmp_path / "end").read_text() == "done"
