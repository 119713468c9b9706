"""The full softmax in C: softmax_kernel.c, compiled once with the user's own C compiler, for this processor.

What was compiled lies in the user's cache folder ($XDG_CACHE_HOME or ~/.cache, llmseq/kernels), under a name that says
which source, compiler and processor it is for. Without a compiler, and where compiling fails, the loss is computed with
torch; nothing else changes, but the last bits of the sums. LLMSEQ_KERNEL=0 turns the kernel off.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # doctor and runs without a network ask what is here, and need no torch for it
    import torch
    from torch import Tensor

SWITCH = "LLMSEQ_KERNEL"
_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")
_SECONDS = 120
_KEPT_BYTES = 2**26  # of exponentials between the two passes; beyond that they are computed twice


class _NoKernelError(Exception):
    """Why there is no kernel."""


@dataclass(frozen=True)
class Kernel:
    """compiler: its first line about itself. bfloat16: whether it multiplies in that, too."""

    library: ctypes.CDLL
    compiler: str
    bfloat16: bool

    def softmax(
        self,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        weights: Tensor,
        low: bool,
        threads: int,
        kept_bytes: int = _KEPT_BYTES,
    ) -> tuple[float, Tensor, Tensor]:
        """(loss, its gradient by hidden, its gradient by items); float32 and int64 on the CPU, contiguous.

        weights: float32[n], of the targets. low: products in bfloat16.
        Raises IndexError if a target is no row of the items.
        """
        grad_hidden, grad_items = hidden.new_empty(hidden.shape), items.new_empty(items.shape)
        loss = ctypes.c_double()
        failed = self.library.llmseq_softmax(
            len(hidden),
            *items.shape,
            *(tensor.data_ptr() for tensor in (hidden, items, targets, weights, grad_hidden, grad_items)),
            ctypes.byref(loss),
            low,
            threads,
            kept_bytes,
        )
        if failed == 2:
            raise IndexError("a target is no row of the items")
        if failed:
            raise MemoryError("not enough memory for the softmax over the catalog")
        return loss.value, grad_hidden, grad_items


def kernel(dtype: torch.dtype | None = None) -> Kernel | None:
    """The kernel, compiled if need be, where it computes products in this number format; None: take torch."""
    made = _made()
    if not isinstance(made, Kernel):
        return None
    return made if str(dtype) != "torch.bfloat16" or made.bfloat16 else None


def about(*, compile_it: bool = False) -> str:
    """What computes the full softmax on the CPU, in words. compile_it: compile the kernel if that was never done."""
    if not compile_it and not _made.cache_info().currsize:
        try:
            if not _place(*_compiler()).exists():
                return "torch (kernel not compiled yet)"
        except (_NoKernelError, OSError) as error:
            return f"torch ({error})"
    made = _made()
    if isinstance(made, str):
        return f"torch ({made})"
    return f"compiled with {made.compiler}{', bfloat16' if made.bfloat16 else ''}"


@functools.cache
def _made() -> Kernel | str:
    """The kernel, or why there is none."""
    try:
        command, version = _compiler()
        place = _place(command, version)
        if not place.exists():
            _compile(command, place)
        library = ctypes.CDLL(str(place))
        number, address = ctypes.c_long, ctypes.c_void_p
        library.llmseq_softmax.argtypes = [*[number] * 3, *[address] * 7, ctypes.c_int, ctypes.c_int, number]
        return Kernel(library, version.splitlines()[0], bool(library.llmseq_has_bfloat16()))
    except (_NoKernelError, OSError, AttributeError) as error:
        return str(error)


def _compiler() -> tuple[list[str], str]:
    """(the command, what it says about itself). Raises _NoKernelError where there is none, or none is wanted."""
    if os.environ.get(SWITCH, "1").lower() in ("0", "off", "no", "false"):
        raise _NoKernelError(f"{SWITCH} is off")
    if ctypes.sizeof(ctypes.c_long) != 8 or os.name != "posix":
        raise _NoKernelError("no kernel for this system")
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise _NoKernelError(f"no C compiler: {command[0]}")
    return command, _version(*command)


@functools.cache
def _version(*command: str) -> str:
    try:
        told = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise _NoKernelError(f"{command[0]} does not run") from error
    return told.stdout.strip() or command[0]


def _place(command: list[str], version: str) -> Path:
    """Where the compiled kernel lies."""
    facts = [_SOURCE.read_text(encoding="utf-8"), *command, *_FLAGS, version, platform.machine(), _processor()]
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
    return _folder() / f"softmax-{name}.so"


def _processor() -> str:
    """Model and abilities of the processor: a folder may be shared by several machines."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            facts = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    except OSError:
        return platform.processor()
    return "".join(sorted(set(facts)))


def _folder() -> Path:
    """The folder for compiled code. Raises _NoKernelError where others could put theirs there."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path(os.path.expanduser("~")) / ".cache"
    folder = base / "llmseq" / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise _NoKernelError(f"others can write to {folder}")
    return folder


def _compile(command: list[str], place: Path) -> None:
    """Compile beside the place, then move it there: a process that reads meanwhile sees a whole file or none."""
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        made = Path(folder) / place.name
        call = [*command, *_FLAGS, str(_SOURCE), "-o", str(made), "-lm"]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.SubprocessError as error:
            raise _NoKernelError(f"{command[0]} does not run") from error
        if done.returncode or not made.exists():
            said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise _NoKernelError(f"{command[0]} failed: {said}")
        os.replace(made, place)
