"""The peak of array memory of a program, by `tt.MemoryTracker` and by memray, in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROGRAM = FOLDER / "agreement_work.py"
# One thread of BLAS, on all sides: several wait for each other in busy loops where CPUs are few.
ENVIRONMENT = {
    **os.environ,
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), str(FOLDER)]),
}


def peaks(name: str, path: Path) -> tuple[int, int]:
    """Run a function of `agreement_work` under both.

    Args:
        name: of the function.
        path: where memray writes its records; no such file is there.

    Returns:
        the peak of array bytes by `MemoryTracker`; and what memray saw allocated below the function at the moment at
        which the process had most.
    """
    from memray import FileReader

    command = [sys.executable, "-m", "memray", "run", "-q", "-o", str(path), str(PROGRAM), name]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=FOLDER, env=ENVIRONMENT
    )
    theirs = 0
    with FileReader(str(path)) as reader:
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            if any(frame[0] == name for frame in record.stack_trace()):
                theirs += record.size
    return int(done.stdout), theirs
