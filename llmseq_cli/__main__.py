"""`python -m llmseq_cli` and the console script `llmseq`."""

import sys


def main() -> None:
    from llmseq_cli.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
