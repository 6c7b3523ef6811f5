"""Which arithmetic "auto" is, on which hardware."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from videocompressa.students import precision
from videocompressa.students.precision import autocast, resolved_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh_look_at_the_processor() -> Iterator[None]:
    precision._processor_has_bfloat16.cache_clear()
    yield
    precision._processor_has_bfloat16.cache_clear()


def processor(monkeypatch: pytest.MonkeyPatch, *instructions: str, allowed: str | None = None) -> str:
    """What "auto" is on a processor with these instructions, of which oneDNN is allowed some."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True), raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if allowed is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    precision._processor_has_bfloat16.cache_clear()
    return resolved_precision("auto", CPU)


def test_auto_takes_bfloat16_only_where_the_hardware_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processor(monkeypatch) == "float32"
    assert processor(monkeypatch, "avx2", "avx512_f") == "float32"
    assert processor(monkeypatch, "avx512_bf16") == "bfloat16"
    assert processor(monkeypatch, "amx_bf16") == "bfloat16"
    assert resolved_precision("auto", GPU) == "bfloat16"


@pytest.mark.parametrize("allowed", ["SSE41", "AVX2", "avx512_core", "AVX512_CORE_VNNI"])
def test_auto_follows_the_instructions_that_onednn_is_allowed(monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    assert processor(monkeypatch, "avx512_bf16", "amx_bf16", allowed=allowed) == "float32"


@pytest.mark.parametrize("allowed", ["ALL", "default", "AVX512_CORE_BF16", "AVX512_CORE_AMX", "AVX10_1_512"])
def test_all_newer_instructions_have_bfloat16(monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    assert processor(monkeypatch, "avx512_bf16", allowed=allowed) == "bfloat16"


def test_a_torch_that_does_not_know_the_processor_takes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert resolved_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("asked", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_what_is_asked_for_is_taken(asked: str, dtype: torch.dtype) -> None:
    layer, inputs = torch.nn.Linear(4, 4), torch.ones(1, 4)
    assert resolved_precision(asked, CPU) == asked
    with autocast(asked, CPU):
        assert layer(inputs).dtype == dtype
