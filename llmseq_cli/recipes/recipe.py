"""The content of a recipe, read from TOML and checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import parse_settings
from llmseq_cli.toml_files import checked, read_toml, wrong

FOLDER = Path(__file__).parent
"""The folder of built-in recipes."""

BERT = "bert"
"""The name for BERT embeddings, given by the user or stored; without any, steps that need them are left out."""

AT_HAND = "at-hand"
"""The name for the embeddings that the user chooses, or else the best stored ones."""

ALL_SEEDS = "*"
"""After the name of a step with several seeds: all its runs, not only the first."""


class _Table(BaseModel):
    """A table of the file: no other keys, no conversion of values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Embed(_Table):
    """Embeddings to make. name: default: the source's. settings: options of `llmseq embed`."""

    name: str = ""
    source: str
    model: str | None = None
    text: str = "{title}"
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _named(cls, table: Any) -> Any:
        return _with_name(table, "source")

    @property
    def word(self) -> str:
        """The value for --embeddings."""
        return f"{self.source}:{self.model}" if self.model else self.source


class Train(_Table):
    """A model to train. name: default: the model's. embeddings: the name of an `Embed`, "at-hand", or a value of
    --embeddings. runs: names of earlier steps or stored runs. minutes: approximate time for a seed, for plans.
    """

    name: str = ""
    model: str
    embeddings: str | None = None
    reduce: str | None = None
    dim: int | None = None
    lengths: Literal["unit", "keep"] = "unit"
    settings: dict[str, Any] = {}
    seeds: int = Field(default=1, ge=1)
    runs: list[str] = []
    minutes: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, table: Any) -> Any:
        return _with_name(table, "model")

    @model_validator(mode="after")
    def _check(self) -> Train:
        if self.model not in model_names():
            raise wrong(f"there is no model '{self.model}'", did_you_mean(self.model, model_names()))
        try:
            parse_settings(model_class(self.model).Settings, self.settings, self.model)
        except UsageError as error:
            raise wrong(error.message, error.hint) from None
        if self.name in self.runs:
            raise wrong(f"'{self.name}' cannot contain itself", "name earlier steps")
        return self


class RecipeDataset(_Table):
    """The dataset of a recipe. name: in the workspace. download: the name of a public dataset, if it is one. ingest:
    options of `llmseq ingest`.
    """

    name: str
    download: str | None = None
    ingest: dict[str, Any] = {}


class Recipe(_Table):
    """name: of the file, which is `origin`. paper: whether to show published figures with its leaderboard."""

    name: str
    origin: str
    title: str = ""
    seed: int = 0
    paper: bool = False
    dataset: RecipeDataset
    embed: list[Embed] = []
    train: list[Train] = []

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if not self.train and not self.embed:
            raise wrong("it has no steps", "add [[embed]] and [[train]] tables")
        before: set[str] = set()
        for place, step in enumerate(self.train, 1):
            if step.name in before:
                told = f"[[train]] number {place}: an earlier step has the same name, '{step.name}'"
                raise wrong(told, "choose another name")
            before.add(step.name)
        return self


def _with_name(table: Any, key: str) -> Any:
    """The table; if it has no name, the value of the key becomes its name."""
    if isinstance(table, dict) and "name" not in table and isinstance(table.get(key), str):
        return table | {"name": table[key]}
    return table


def shipped() -> dict[str, str]:
    """Built-in recipes: their titles by name."""
    tables = {file.stem: read_toml(file, "the recipe", "") for file in sorted(FOLDER.glob("*.toml"))}
    return {name: str(table.get("title", "")) for name, table in tables.items()}


def find_file(name: str) -> Path:
    """The file of a recipe, given a path or a built-in name. Raises LlmseqError if there is none."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    known = [file.stem for file in sorted(FOLDER.glob("*.toml"))]
    if name not in known:
        raise LlmseqError(f"there is no recipe '{name}'", did_you_mean(name, known) + ", or give a .toml file")
    return FOLDER / f"{name}.toml"


def load_recipe(name: str) -> Recipe:
    """Load a recipe from a file or a built-in one. Raises LlmseqError with the position of an error."""
    file = find_file(name)
    table = read_toml(file, "the recipe", "`llmseq run --list` shows the built-in ones")
    for key in ("name", "origin"):
        if key in table:
            raise LlmseqError(f"{file}: the recipe has no key '{key}'", "a recipe is named after its file")
    return checked(Recipe, table | {"name": file.stem, "origin": str(file)}, str(file), "the recipe")
