"""Choose the device to compute on."""

from __future__ import annotations

from llmseq_cli.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device_name(wanted: str) -> None:
    """Raises UsageError for an unknown device, even if it would not be used."""
    if wanted not in DEVICES:
        raise UsageError(f"there is no device '{wanted}'", f"use {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")


def resolve_device(wanted: str) -> str:
    """ "auto" → the best device available. Raises UsageError for a device that torch does not find."""
    check_device_name(wanted)
    if wanted == "cpu":
        return "cpu"
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted, False):
        raise UsageError(
            f"there is no device '{wanted}' here", f"use {' or '.join(n for n, ok in available.items() if ok)}"
        )
    return wanted


def has_native_bfloat16(device: str) -> bool:
    """Whether the device supports bfloat16 natively, so that it is faster than float32."""
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
