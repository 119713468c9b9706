"""The field's canonical leave-one-out files; found by LLMSEQ_LEAVE_ONE_OUT, else tests skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("LLMSEQ_LEAVE_ONE_OUT", "")

needs_leave_one_out = pytest.mark.skipif(
    not (FOLDER and (Path(FOLDER) / "beauty.csv.gz").is_file()),
    reason="LLMSEQ_LEAVE_ONE_OUT does not name a folder with beauty.csv.gz (columns user, item, position)",
)
