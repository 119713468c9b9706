"""Answers of Together AI, except chats: fine-tuning jobs and their events."""

from __future__ import annotations

from llmseq_cli.clients.answers import Id, Typed, Words


class TogetherJob(Typed):
    """A fine-tuning job. output: the tuned model's name, whichever field the service uses for it."""

    id: Id
    status: str
    model_output_name: Words = None
    output_name: Words = None
    training_file: Words = None
    suffix: Words = None

    @property
    def output(self) -> str | None:
        return self.model_output_name or self.output_name

    def carries(self, token: str) -> bool:
        return any(token in (text or "") for text in (self.suffix, self.output))


class TogetherEvent(Typed):
    message: str
    type: Words = None
