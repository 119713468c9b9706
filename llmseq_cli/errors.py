"""Errors that users see: one line says what happened, one says what to do."""

_MOST_WORDS = 40
"""Most words that a hint lists."""


class LlmseqError(Exception):
    """A failure with an explanation for the user.

    `message` says what happened in one line, `hint` what to do about it. The command line prints both and exits
    with `exit_code`; from Python they are attributes of the exception.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(LlmseqError):
    """A wrong command or call: an unknown model, setting or format, a value out of range."""

    exit_code = 2


class NotInstalledError(LlmseqError):
    """What is asked for needs packages of an extra. what: needs it, or is not there: "plots need matplotlib"."""

    def __init__(self, what: str, extra: str, instead: str = "") -> None:
        super().__init__(what, f"pip install 'llmseq[{extra}]'{instead}")


class WorkspaceBusyError(LlmseqError):
    """Another process is using the workspace."""


class WorkerLostError(LlmseqError):
    """A worker process or machine was lost without an answer; its work can be repeated."""


class InterruptedByUserError(LlmseqError):
    """The user pressed Ctrl-C."""

    exit_code = 130


def did_you_mean(word: str, known: list[str]) -> str:
    """A hint with the closest known word, or a list of known words if none is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(known) - _MOST_WORDS} more" if len(known) > _MOST_WORDS else ""
    return f"known: {', '.join(known[:_MOST_WORDS])}{more}"
