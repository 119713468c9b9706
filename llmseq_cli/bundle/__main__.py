"""`python -m llmseq_cli.bundle FOLDER ITEM...`: `llmseq recommend` with the folder of a bundle."""

import os
import sys

from llmseq_cli.cli.app import run


def main(arguments: list[str]) -> int:
    """Takes a folder, then items and options as `llmseq recommend` does; returns the exit status."""
    if not arguments or arguments[0].startswith("-"):
        return run(["recommend", "--help"])
    return run(["recommend", os.path.abspath(arguments[0]), *arguments[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
