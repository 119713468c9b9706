"""Prices of tokens: a built-in table, and the user's own file, which takes precedence."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from llmseq_cli.errors import LlmseqError

_SHIPPED = Path(__file__).with_name("prices.toml")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def usd_per_token(source: str, model: str, *, batch: bool = False, file: str | Path | None = None) -> float | None:
    """US dollars per token of a model, None if no price is known.

    file: the user's table, which takes precedence over the built-in one; default: $LLMSEQ_PRICES. Its sections are
    called "SOURCE:MODEL" and contain `tokens`, US dollars per million tokens, and `batch`, the same for the batch
    service. Raises LlmseqError if the file cannot be read or a price is not a number.
    """
    return usd_for_token(f"{source}:{model}", "batch" if batch else "tokens", file)


def usd_for_token(name: str, kind: str, file: str | Path | None = None) -> float | None:
    """As `usd_per_token`, for a section and one of its prices: `tokens`, `batch`, or for chat models `input`, `output`,
    `training`, `tuned_input`, `tuned_output`. A dated model without its own section costs the same as the undated one.
    """
    own = file or os.environ.get("LLMSEQ_PRICES")
    shipped, given = _read(_SHIPPED), _read(Path(own)) if own else {}
    undated = _DATE.sub("", name)
    prices = shipped.get(undated, {}) | shipped.get(name, {}) | given.get(undated, {}) | given.get(name, {})
    price = prices.get(kind)
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
        raise LlmseqError(f"the prices in {file} are not valid TOML: {error}", f"see {_SHIPPED}") from error
    if not all(isinstance(section, dict) for section in table.values()):
        raise LlmseqError(f'{file} has prices outside a section such as ["openai:MODEL"]', f"see {_SHIPPED}")
    return table
