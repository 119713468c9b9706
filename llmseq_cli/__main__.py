"""`python -m llmseq_cli` and the console script `llmseq`."""

import sys


def main() -> None:
    try:
        from llmseq_cli.cli.app import run

        sys.exit(run())
    except KeyboardInterrupt:  # before any command began
        sys.exit(130)


if __name__ == "__main__":
    main()
