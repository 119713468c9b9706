"""`Backend`: where heavy work runs."""

from __future__ import annotations

from dataclasses import dataclass

from llmseq_cli.errors import UsageError

KINDS = ("loky", "ray")


@dataclass(frozen=True)
class Backend:
    """Where to run heavy work.

    kind: None for this process, "ray" for the workers of a Ray cluster, "loky" (tuning only) for processes on this
    machine. address: of the Ray cluster, host:port or "auto"; None starts one on this machine while the work runs.
    workers: tasks that run at a time; None means one per core, or per GPU.
    """

    kind: str | None = None
    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            hint = " or ".join(f"--backend {name}" for name in KINDS)
            raise UsageError(f"there is no backend '{self.kind}'", f"{hint} (`loky` for tuning only)")
        if self.address is not None and not self.on_ray:
            raise UsageError("--ray-address without Ray", "add --backend ray")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers is {self.workers}", "give at least 1")

    @property
    def on_ray(self) -> bool:
        return self.kind == "ray"

    def check_ray_or_here(self) -> None:
        """Raises UsageError for "loky", which only tuning supports."""
        if self.kind == "loky":
            raise UsageError("only tuning has the backend 'loky'", "--backend ray, or leave it out")
        if not self.on_ray and self.workers is not None:
            raise UsageError("--workers without Ray", "add --backend ray; without it, all cores are used")


HERE = Backend()
LOKY = Backend("loky")
