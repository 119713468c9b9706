"""Answers of Fireworks AI, except chats: datasets, fine-tuning jobs, URLs of a model's files."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

from llmseq_cli.clients.answers import Entries, Object, Typed, Words

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class _Camel(Typed):
    """Fireworks uses camel case."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)


class FireworksDataset(_Camel):
    state: Words = None


class _Status(_Camel):
    message: Words = None


def _status(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


class FireworksJob(_Camel):
    """A supervised fine-tuning job. name: accounts/A/supervisedFineTuningJobs/ID."""

    name: str
    state: str
    display_name: Words = None
    output_model: Words = None
    status: Annotated[_Status, BeforeValidator(_status)] = _Status()


class FireworksJobs(_Camel):
    """A page of a list."""

    supervised_fine_tuning_jobs: Entries
    next_page_token: Words = None


class FireworksFiles(_Camel):
    """URLs of a model's files, signed for a limited time."""

    filename_to_signed_urls: Object

    def by_name(self) -> dict[str, str]:
        """Only plain file names: a server must not choose where files are written."""
        listed = self.filename_to_signed_urls.items()
        pairs = [(str(name).rpartition("/")[2], url) for name, url in listed if ".." not in str(name)]
        return {name: url for name, url in pairs if _FILE_NAME.fullmatch(name) and isinstance(url, str)}
