"""Writes docs/images/: the demo's report in terminals of 80 and 140 columns and as HTML; `make screenshots`.

Needs a Chromium on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


def main() -> None:
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if chromium is None:
        sys.exit("there is no Chromium on the path")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        llmseq(folder, 80, "demo", "--quiet")
        for width in (80, 140):
            terminal(browser, folder, width, "report", "--significance", "sf-sknn")
        page = Path(folder) / "report.html"
        llmseq(folder, 80, "report", "--format", "html", "--out", str(page))
        for scheme in ("light", "dark"):
            picture(browser, page, f"html-{scheme}", scheme)
        browser.close()


def llmseq(folder: str, width: int, *words: str) -> str:
    environment = os.environ | {"LLMSEQ_WORKSPACE": f"{folder}/workspace", "COLUMNS": str(width), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "llmseq_cli", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def terminal(browser: Browser, folder: str, width: int, *words: str) -> None:
    """What the command prints in a terminal of so many columns."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        console.print(Text(f"$ llmseq {' '.join(words)}"))
        console.print(Text.from_ansi(llmseq(folder, width, *words)))
        page = Path(folder) / "terminal.html"
        page.write_text(console.export_html(), encoding="utf-8")
    picture(browser, page, f"terminal-{width}", "light", "pre")


def picture(browser: Browser, page: Path, name: str, scheme: str, part: str | None = None) -> None:
    opened = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 800}).new_page()  # type: ignore[arg-type]
    opened.goto(page.as_uri())
    (opened.locator(part).first if part else opened).screenshot(path=str(FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
