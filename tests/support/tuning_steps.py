"""What tests of tuning share."""

from __future__ import annotations

import json

RANDOM = ("--startup", "1000")  # all configurations drawn at random: a trial depends on its number alone


def trials_of(llmseq, study="shop-sknn"):
    made = llmseq("sql", f"from trials where study = '{study}' order by trial", "--json")
    assert made.status == 0, made.err
    return [row | {"settings": json.loads(row["settings"])} for row in made.json]
