"""What a recipe says, read from TOML and checked before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import parse_settings
from llmseq_cli.toml_files import checked, read_toml, wrong

FOLDER = Path(__file__).parent
"""Where the recipes lie that ship with llmseq."""

BERT = "bert"
"""The name of a BERT's embeddings, named by the user or stored; without any, steps that need them are left out."""

AT_HAND = "at-hand"
"""The name of the embeddings that the user chooses, or of the best that are stored."""

ALL_SEEDS = "*"
"""After the name of a step of several seeds: all its runs, not the first alone."""


class _Table(BaseModel):
    """A table of the file: no other keys than these, no value turned into another kind."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Embed(_Table):
    """Embeddings to make. name: else that of the source. settings: options of `llmseq embed`."""

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
        """As --embeddings names them."""
        return f"{self.source}:{self.model}" if self.model else self.source


class Train(_Table):
    """A model to train. name: else the model's. embeddings: the name of an `Embed`, "at-hand", or as --embeddings has
    it. runs: names of steps before it, or of stored runs. minutes: about how long a seed takes, for plans.
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
            raise wrong(f"'{self.name}' cannot be made of itself", "name steps before it")
        return self


class RecipeDataset(_Table):
    """What a recipe is run on. name: in the workspace. download: of a public dataset, where it is one. ingest: options
    of `llmseq ingest`.
    """

    name: str
    download: str | None = None
    ingest: dict[str, Any] = {}


class Recipe(_Table):
    """name: of the file, which is `origin`. paper: whether the published figures belong beside these."""

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
            raise wrong("it has no step", "give it [[embed]] and [[train]] tables")
        before: set[str] = set()
        for place, step in enumerate(self.train, 1):
            if step.name in before:
                told = f"[[train]] number {place}: a step before it is called '{step.name}', too"
                raise wrong(told, "give it another name")
            before.add(step.name)
        return self


def _with_name(table: Any, key: str) -> Any:
    """The table, named after the value of the key where it says no name."""
    if isinstance(table, dict) and "name" not in table and isinstance(table.get(key), str):
        return table | {"name": table[key]}
    return table


def shipped() -> dict[str, str]:
    """Recipes that ship with llmseq: what each is, by name."""
    tables = {file.stem: read_toml(file, "the recipe", "") for file in sorted(FOLDER.glob("*.toml"))}
    return {name: str(table.get("title", "")) for name, table in tables.items()}


def find_file(name: str) -> Path:
    """The file that is meant: a path, or the name of a recipe that ships. Raises LlmseqError where there is none."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    known = [file.stem for file in sorted(FOLDER.glob("*.toml"))]
    if name not in known:
        raise LlmseqError(f"there is no recipe '{name}'", did_you_mean(name, known) + ", or give a .toml file")
    return FOLDER / f"{name}.toml"


def load_recipe(name: str) -> Recipe:
    """The recipe in a file, or one that ships. Raises LlmseqError with the place of what is wrong."""
    file = find_file(name)
    table = read_toml(file, "the recipe", "`llmseq run --list` shows those that ship")
    for key in ("name", "origin"):
        if key in table:
            raise LlmseqError(f"{file}: the recipe has no key '{key}'", "a recipe is named after its file")
    return checked(Recipe, table | {"name": file.stem, "origin": str(file)}, str(file), "the recipe")
