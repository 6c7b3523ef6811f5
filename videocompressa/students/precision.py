"""Where bfloat16 gains: convolutions in half the bits, with weights and losses in float32.

Steps are faster on a GPU and on processors with AMX or AVX512-BF16; on all others they take 2 to 2.6 times as long as
in float32 (docs/benchmarks.md), so "auto" takes bfloat16 only where the hardware has it.
"""

import functools
import os

import torch

PRECISIONS = ("auto", "float32", "bfloat16")
"""Number formats of a student's arithmetic; "auto" is one of the other two, by `resolved_precision`."""


def resolved_precision(precision: str, device: torch.device) -> str:
    """Return "float32" or "bfloat16": what `precision` means on this device."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" or _processor_has_bfloat16() else "float32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which a student runs."""
    enabled = resolved_precision(precision, device) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@functools.cache
def _processor_has_bfloat16() -> bool:
    # The variable limits the instructions of oneDNN, which runs the convolutions.
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if not any(word in allowed for word in ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10")):
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
