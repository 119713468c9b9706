"""Public datasets by name: where their files are, how to read them, and who owns them."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from llmseq_cli.data.downloads.addresses import file_name, plain_url
from llmseq_cli.data.downloads.download import begun_at, download, present
from llmseq_cli.data.downloads.transfer import Retries, SourceError
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.files import atomic_path
from llmseq_cli.machine import machine_errors
from llmseq_cli.progress import Progress, SilentProgress

_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_MCAULEY = ("https://mcauleylab.ucsd.edu/public_datasets/data", "https://datarepo.eng.ucsd.edu/mcauley_group/data")
_STEAM = ("https://mcauleylab.ucsd.edu/public_datasets/data/steam", "https://cseweb.ucsd.edu/~wckang")
# The files that most leave-one-out tables use, at one commit of their repository.
_S3REC = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data"
_MOVIELENS = "files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class PublicFile:
    """One file of a dataset.

    urls: mirrors, tried in this order.
    sha256: for files that their owners have frozen.
    members: files to unpack from an archive: those that `ingest` reads, then a README.
    """

    urls: tuple[str, ...]
    sha256: str | None = None
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return file_name(self.urls[0])


@dataclass(frozen=True)
class PublicDataset:
    """format, k_core: for `ingest`. page: licence, and what to cite."""

    files: tuple[PublicFile, ...]
    format: str
    k_core: int
    page: str


@dataclass(frozen=True)
class DownloadedDataset:
    """paths: files for `ingest`, in this format. page: licence, and what to cite."""

    paths: list[Path]
    format: str
    k_core: int
    page: str


def _amazon_2014(category: str) -> PublicDataset:
    names = (f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz")
    page = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html"
    return PublicDataset(tuple(PublicFile((f"{_SNAP}/{name}",)) for name in names), "amazon", 5, page)


def _amazon_2018(category: str) -> PublicDataset:
    names = (f"categoryFilesSmall/{category}_5.json.gz", f"metaFiles2/meta_{category}.json.gz")
    return _mcauley("amazon_v2", names, "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/")


def _amazon_2023(category: str) -> PublicDataset:
    names = (f"review_categories/{category}.jsonl.gz", f"meta_categories/meta_{category}.jsonl.gz")
    return _mcauley("amazon_2023/raw", names, "https://amazon-reviews-2023.github.io/")


def _mcauley(release: str, names: tuple[str, ...], page: str) -> PublicDataset:
    files = (PublicFile(tuple(f"{mirror}/{release}/{name}" for mirror in _MCAULEY)) for name in names)
    return PublicDataset(tuple(files), "amazon", 5, page)


def _s3rec(name: str) -> PublicDataset:
    """Each line has a user and the user's items in order, as numbers: no times, no titles."""
    return PublicDataset(
        (PublicFile((f"{_S3REC}/{name}.txt",)),), "table", 5, "https://github.com/RUCAIBox/CIKM2020-S3Rec"
    )


def _movielens(version: str, data: str, items: str, readme: str, sha256: str | None = None) -> PublicDataset:
    # Their certificate has expired before. A file with a checksum may also come over plain http.
    schemes = ("https", "http") if sha256 else ("https",)
    archive = PublicFile(
        tuple(f"{scheme}://{_MOVIELENS}/{version}.zip" for scheme in schemes),
        sha256,
        tuple(f"{version}/{member}" for member in (data, items, readme)),
    )
    return PublicDataset((archive,), "movielens", 5, "https://grouplens.org/datasets/movielens/")


PUBLIC_DATASETS: dict[str, PublicDataset] = {
    "beauty": _amazon_2014("Beauty"),
    "sports": _amazon_2014("Sports_and_Outdoors"),
    "toys": _amazon_2014("Toys_and_Games"),
    "video-games": _amazon_2014("Video_Games"),
    "beauty-s3rec": _s3rec("Beauty"),
    "sports-s3rec": _s3rec("Sports_and_Outdoors"),
    "toys-s3rec": _s3rec("Toys_and_Games"),
    "yelp-s3rec": _s3rec("Yelp"),
    "amazon-2018-luxury-beauty": _amazon_2018("Luxury_Beauty"),
    "amazon-2018-musical-instruments": _amazon_2018("Musical_Instruments"),
    "amazon-2023-all-beauty": _amazon_2023("All_Beauty"),
    "amazon-2023-industrial-and-scientific": _amazon_2023("Industrial_and_Scientific"),
    "amazon-2023-musical-instruments": _amazon_2023("Musical_Instruments"),
    "amazon-2023-video-games": _amazon_2023("Video_Games"),
    "steam": PublicDataset(
        tuple(
            PublicFile(tuple(f"{mirror}/{name}" for mirror in _STEAM))
            for name in ("steam_reviews.json.gz", "steam_games.json.gz")
        ),
        "steam",
        5,
        "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    ),
    "movielens-100k": _movielens(
        "ml-100k",
        "u.data",
        "u.item",
        "README",
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
    "movielens-1m": _movielens(
        "ml-1m",
        "ratings.dat",
        "movies.dat",
        "README",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    "movielens-20m": _movielens(
        "ml-20m",
        "ratings.csv",
        "movies.csv",
        "README.txt",
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    ),
    "movielens-25m": _movielens(
        "ml-25m",
        "ratings.csv",
        "movies.csv",
        "README.txt",
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
    ),
    "movielens-32m": _movielens("ml-32m", "ratings.csv", "movies.csv", "README.txt"),
    "movielens-latest-small": _movielens("ml-latest-small", "ratings.csv", "movies.csv", "README.txt"),
}


def dataset_names() -> list[str]:
    return list(PUBLIC_DATASETS)


def find_public_dataset(name: str) -> PublicDataset:
    """Raises UsageError if the name is unknown."""
    if name not in PUBLIC_DATASETS:
        raise UsageError(f"no public dataset is called '{name}'", did_you_mean(name, dataset_names()))
    return PUBLIC_DATASETS[name]


def download_dataset(
    name: str,
    out: Path,
    progress: Progress | None = None,
    base_url: str | None = None,
    *,
    patience: Retries | None = None,
) -> DownloadedDataset:
    """Download the files of a public dataset into the folder `out`, and unpack archives.

    base_url: of another mirror; replaces everything before the file names.
    patience: how often and how long to try each URL.

    Raises UsageError for an unknown name, LlmseqError if no mirror provides a file.
    """
    dataset = find_public_dataset(name)
    progress = progress or SilentProgress()
    paths: list[Path] = []
    for file in dataset.files:
        urls = (f"{base_url.rstrip('/')}/{file.name}",) if base_url else file.urls
        try:
            path = _from_any(file, urls, out, progress, patience)
        except SourceError as error:
            by_hand = f"or fetch {file.name} by hand, see {dataset.page}"
            raise SourceError(error.message, f"{error.hint}; {by_hand}" if error.hint else by_hand) from error
        paths += _unpack(path, file.members, out) if file.members else [path]
    return DownloadedDataset(paths, dataset.format, dataset.k_core, dataset.page)


def _from_any(file: PublicFile, urls: tuple[str, ...], out: Path, progress: Progress, patience: Retries | None) -> Path:
    """Download the file from the first mirror that provides it, starting with the origin of an existing part."""
    for url in urls:
        if present(url, out, name=file.name, sha256=file.sha256):
            progress.message(f"{file.name} is already there")
            return out / file.name
    begun = begun_at(out, file.name)
    ordered = sorted(urls, key=lambda url: plain_url(url) != begun)
    for url, another in zip(ordered, [*ordered[1:], None], strict=True):
        try:
            return download(url, out, name=file.name, sha256=file.sha256, progress=progress, patience=patience).path
        except SourceError as error:
            if another is None:
                raise
            progress.warn(f"{error.message}; trying {plain_url(another)}")
    raise AssertionError("a file has at least one address")


def _unpack(archive: Path, members: tuple[str, ...], out: Path) -> list[Path]:
    """Unpack only these members; return their paths without the README's."""
    paths = [out / member for member in members]
    try:
        with machine_errors(out), zipfile.ZipFile(archive) as packed:
            for member, path in zip(members, paths, strict=True):
                _unpack_one(packed, member, path)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        raise LlmseqError(
            f"{archive} is damaged or not the expected archive", f"delete {archive} and download it again"
        ) from error
    return [path for path in paths if not path.name.startswith("README")]


def _unpack_one(packed: zipfile.ZipFile, member: str, path: Path) -> None:
    if path.is_file() and path.stat().st_size == packed.getinfo(member).file_size:
        return
    with (
        atomic_path(path, durable=False, make_folder=True) as part,
        packed.open(member) as source,
        part.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
