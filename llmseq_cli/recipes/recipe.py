"""What a recipe says, read from TOML and checked before anything is run."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmseq_cli.embeddings.reduce import LENGTHS
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import parse_settings

FOLDER = Path(__file__).parent
"""Where the recipes lie that ship with llmseq."""

BERT = "bert"
"""The name of a BERT's embeddings, named by the user or stored; without any, steps that need them are left out."""

AT_HAND = "at-hand"
"""The name of the embeddings that the user chooses, or of the best that are stored."""

ALL_SEEDS = "*"
"""After the name of a step of several seeds: all its runs, not the first alone."""


@dataclass(frozen=True)
class Embed:
    """Embeddings to make. options: of `llmseq embed`."""

    name: str
    source: str
    model: str | None
    text: str
    settings: dict[str, Any]

    @property
    def word(self) -> str:
        """As --embeddings names them."""
        return f"{self.source}:{self.model}" if self.model else self.source


@dataclass(frozen=True)
class Train:
    """A model to train. embeddings: the name of an `Embed`, "at-hand", or as --embeddings has it. runs: names of steps
    before it, or of stored runs. minutes: about how long a seed takes, for plans.
    """

    name: str
    model: str
    embeddings: str | None
    reduce: str | None
    dim: int | None
    lengths: str
    settings: dict[str, Any]
    seeds: int
    runs: tuple[str, ...]
    minutes: float | None


@dataclass(frozen=True)
class Recipe:
    """name: of the file. dataset: its name in the workspace. download: of a public dataset, where it is one. ingest:
    options of `llmseq ingest`. paper: whether the published figures belong beside these.
    """

    name: str
    title: str
    dataset: str
    download: str | None
    ingest: dict[str, Any]
    paper: bool
    embed: tuple[Embed, ...]
    train: tuple[Train, ...]
    seed: int = 0
    origin: str = field(default="", compare=False)


def shipped() -> dict[str, str]:
    """Recipes that ship with llmseq: what each is, by name."""
    return {file.stem: str(_read(file).get("title", "")) for file in sorted(FOLDER.glob("*.toml"))}


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
    return parse_recipe(_read(file), file.stem, str(file))


def parse_recipe(table: dict[str, Any], name: str, origin: str) -> Recipe:
    """A recipe of a parsed TOML file. Raises LlmseqError."""
    reader = _Reader(origin)
    reader.only(table, "the recipe", ("title", "seed", "paper", "dataset", "embed", "train"))
    dataset = reader.table(table, "dataset")
    reader.only(dataset, "[dataset]", ("name", "download", "ingest"))
    embed = tuple(_embed(reader, one, place) for place, one in enumerate(reader.tables(table, "embed"), 1))
    train: list[Train] = []
    for place, one in enumerate(reader.tables(table, "train"), 1):
        train.append(_train(reader, one, place, [step.name for step in embed], [step.name for step in train]))
    if not train and not embed:
        raise reader.wrong("it has no step", "give it [[embed]] and [[train]] tables")
    recipe = Recipe(
        name=name,
        title=reader.get(table, "title", str, "", "the recipe"),
        dataset=reader.get(dataset, "name", str, None, "[dataset]"),
        download=reader.get(dataset, "download", str, "", "[dataset]") or None,
        ingest=reader.table(dataset, "ingest"),
        paper=reader.get(table, "paper", bool, False, "the recipe"),
        embed=embed,
        train=tuple(train),
        seed=reader.get(table, "seed", int, 0, "the recipe"),
        origin=origin,
    )
    return recipe


def _embed(reader: _Reader, table: dict[str, Any], place: int) -> Embed:
    where = f"[[embed]] number {place}"
    reader.only(table, where, ("name", "source", "model", "text", "settings"))
    source = reader.get(table, "source", str, None, where)
    return Embed(
        name=reader.get(table, "name", str, source, where),
        source=source,
        model=reader.get(table, "model", str, "", where) or None,
        text=reader.get(table, "text", str, "{title}", where),
        settings=reader.table(table, "settings"),
    )


def _train(reader: _Reader, table: dict[str, Any], place: int, embedded: list[str], before: list[str]) -> Train:
    where = f"[[train]] number {place}"
    known = ("name", "model", "embeddings", "reduce", "dim", "lengths", "settings", "seeds", "runs", "minutes")
    reader.only(table, where, known)
    model = reader.get(table, "model", str, None, where)
    if model not in model_names():
        raise reader.wrong(f"{where}: there is no model '{model}'", did_you_mean(model, model_names()))
    settings = reader.table(table, "settings")
    try:
        parse_settings(model_class(model).Settings, settings, model)
    except UsageError as error:
        raise reader.wrong(f"{where}: {error.message}", error.hint) from None
    step = Train(
        name=reader.get(table, "name", str, model, where),
        model=model,
        embeddings=reader.get(table, "embeddings", str, "", where) or None,
        reduce=reader.get(table, "reduce", str, "", where) or None,
        dim=reader.get(table, "dim", int, 0, where) or None,
        lengths=reader.get(table, "lengths", str, "unit", where),
        settings=settings,
        seeds=reader.get(table, "seeds", int, 1, where),
        runs=tuple(reader.get(table, "runs", list, [], where)),
        minutes=float(reader.get(table, "minutes", (int, float), 0, where)) or None,
    )
    if step.lengths not in LENGTHS:
        raise reader.wrong(f"{where}: lengths is '{step.lengths}'", "unit or keep")
    if step.seeds < 1:
        raise reader.wrong(f"{where}: seeds is {step.seeds}", "train at least once")
    if step.name in before:
        raise reader.wrong(f"{where}: a step before it is called '{step.name}', too", "give it another name")
    if not all(isinstance(run, str) for run in step.runs):
        raise reader.wrong(f"{where}: runs are names", 'runs = ["sknn", "sasrec"]')
    later = [run for run in step.runs if run == step.name]
    if later:
        raise reader.wrong(f"{where}: '{step.name}' cannot be made of itself", "name steps before it")
    return step


class _Reader:
    """Reads values of a TOML file, and says where one is wrong."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def wrong(self, what: str, hint: str | None) -> LlmseqError:
        return LlmseqError(f"{self.origin}: {what}", hint or "see docs/howto/recipes.md")

    def only(self, table: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                raise self.wrong(f"{where} has no key '{key}'", did_you_mean(key, list(known)))

    def get(self, table: dict[str, Any], key: str, kind: Any, default: Any, where: str) -> Any:
        """The value of a key; default None: it must be there."""
        if key not in table:
            if default is None:
                raise self.wrong(f"{where} lacks '{key}'", f'{key} = "…"')
            return default
        value = table[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(f"{where}: {key} = {value!r} is not {_KINDS.get(kind, 'a number')}", "check its quotes")
        return value

    def table(self, table: dict[str, Any], key: str) -> dict[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(f"{key} is not a table", f"[{key}]")
        return value

    def tables(self, table: dict[str, Any], key: str) -> list[dict[str, Any]]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(f"{key} is not a list of tables", f"[[{key}]]")
        return value


_KINDS: dict[Any, str] = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmseqError(
            f"{file} cannot be read: {error.strerror}", "`llmseq run --list` shows those that ship"
        ) from None
    except ValueError as error:
        raise LlmseqError(f"{file} is not TOML: {error}", "mend it there") from None
