"""All tasks by name. A new task is one file and one line here."""

from __future__ import annotations

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.finetuning.tasks.classify import Classify
from llmseq_cli.finetuning.tasks.genitem import GenItem
from llmseq_cli.finetuning.tasks.genlist import GenList
from llmseq_cli.finetuning.tasks.preference import Preference
from llmseq_cli.finetuning.tasks.rank import Rank
from llmseq_cli.finetuning.tasks.task import PromptTask

_TASKS: dict[str, PromptTask] = {task.name: task for task in (GenItem(), GenList(), Classify(), Rank(), Preference())}

TASK_NAMES = tuple(_TASKS)


def find_task(name: str) -> PromptTask:
    """The task of this name. Raises UsageError with the closest name if there is none."""
    if name not in _TASKS:
        raise UsageError(f"there is no task '{name}'", did_you_mean(name, list(TASK_NAMES)))
    return _TASKS[name]
