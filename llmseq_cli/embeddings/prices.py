"""What a token costs: a table that ships, and a file of the user's on top of it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from llmseq_cli.errors import LlmseqError

_SHIPPED = Path(__file__).with_name("prices.toml")


def usd_per_token(source: str, model: str, *, batch: bool = False, file: str | Path | None = None) -> float | None:
    """US dollars for a token of a model, None where no price is known.

    file: the user's table, which wins over the one that ships; else $LLMSEQ_PRICES. Its sections are called
    "SOURCE:MODEL" and hold `tokens`, US dollars for a million of them, and `batch`, the same in the batch service.
    Raises LlmseqError where the file cannot be read or a price is not a number.
    """
    name = f"{source}:{model}"
    own = file or os.environ.get("LLMSEQ_PRICES")
    prices = _read(_SHIPPED).get(name, {}) | (_read(Path(own)).get(name, {}) if own else {})
    price = prices.get("batch" if batch else "tokens")
    if price is None:
        return None
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < float("inf"):
        raise LlmseqError(f"the price {price!r} of {name} is not a number of US dollars", "see --prices")
    return price / 1e6


def _read(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmseqError(f"the prices in {file} cannot be read: {error.strerror}", "check --prices") from error
    except ValueError as error:
        raise LlmseqError(f"the prices in {file} are not TOML: {error}", f"see {_SHIPPED} for the form") from error
    if not all(isinstance(section, dict) for section in table.values()):
        raise LlmseqError(f'{file} has prices outside of a section such as ["openai:MODEL"]', f"see {_SHIPPED}")
    return table
