"""Loading, training and evaluating video-language models: the faults of a folder, the loss, resuming, the scores."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from vlm_models import TYPES, write_byte_tokenizer, write_model

from videocompressa.errors import DivergedError, InputError
from videocompressa.hub import need
from videocompressa.processes import ProcessGroup
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.vlm.settings import FinetuneConfig, LoadOptions
from videocompressa.vlm.tune import evaluate as evaluate_module
from videocompressa.vlm.tune import models as models_module
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.evaluate import UNMATCHED, Prediction, evaluate_vlm, match_class, summarize
from videocompressa.vlm.tune.models import Vlm, explain_memory, load_vlm
from videocompressa.vlm.tune.processor import collate
from videocompressa.vlm.tune.progress import Checkpoint, metrics_log
from videocompressa.vlm.tune.train import Prepared, clip_losses, example_batch, learning_rate, prepare, train_vlm
from videocompressa.vlm.words import ask

pytest.importorskip("transformers", reason="needs the extra vlm")
pytest.importorskip("peft", reason="needs the extra vlm")

NAMES = ("dark night", "light", "red ball")
COLOURS = torch.tensor([[40, 40, 40], [200, 200, 200], [200, 40, 40]])
SMALL = LoadOptions(min_pixels=1)
CPU = torch.device("cpu")
QUICK = FinetuneConfig(
    steps=4, batch_size=4, micro_batch=4, lr=3e-3, lora_rank=4, precision="float32", questions="open", save_every=2
)
ALL = dataclasses.replace(QUICK, lora_rank=0, vision="all")
RUN = Run(Streams(3, "test"))


def clips(count: int = 12, seed: int = 0) -> Clips:
    """Noise of three colors."""
    labels = tuple(number % 3 for number in range(count))
    noise = torch.randint(-40, 41, (count, 4, 3, 28, 28), generator=torch.Generator().manual_seed(seed))
    pixels = COLOURS[torch.tensor(labels)][:, None, :, None, None] + noise
    times = torch.arange(4, dtype=torch.float64).expand(count, 4)
    return Clips(labels, NAMES, tuple(f"{n}.mp4" for n in range(count)), times, pixels.clamp(0, 255).to(torch.uint8))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_model(root / name, name) for name in TYPES}


@pytest.fixture
def load(folders: dict[str, Path]) -> Callable[..., Vlm]:
    def loaded(model_type: str = "qwen2_5_vl", dtype: str = "float32", options: LoadOptions = SMALL) -> Vlm:
        return load_vlm(str(folders[model_type]), dtype=dtype, device=CPU, options=options)

    return loaded


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def trained_bytes(prepared: Prepared) -> dict[str, bytes]:
    return {name: weight.detach().float().numpy().tobytes() for name, weight in prepared.trained.items()}


# Loading.


def break_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_some_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "q_proj" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def break_bytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights at all")


def break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def break_vision_tokens(folder: Path) -> None:
    write_byte_tokenizer(folder, without=("<|video_pad|>", "<|vision_start|>"))


def break_token_places(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"video_token_id": 7}))


def break_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))


FAULTS: dict[Callable[[Path], None], str] = {
    break_config: "has no config.json; give the folder that a model was saved to",
    break_json: r"config.json is not json \(.*download it again",
    break_weights: r"has no weights \(\*.safetensors, .*; download them, or give another folder",
    break_some_weights: r"1 weights are missing, such as model.*q_proj",
    break_bytes: "its weights cannot be read",
    break_tokenizer: r"has no tokenizer \(tokenizer.json or vocab.json\)",
    break_vision_tokens: r"its tokenizer has no <\|vision_start\|>, <\|video_pad\|>; give the tokenizer of a model",
    break_token_places: r"its tokenizer has <\|video_pad\|> at \d+, its config.json at 7",
    break_type: r"is of type 'llava', which is not supported; known: qwen2_vl",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_a_model_folder_is_named(spoil: Callable[[Path], None], folders: Any, tmp_path: Path) -> None:
    folder = copy_of(folders["qwen2_5_vl"], tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=f"--model {folder}: .*{FAULTS[spoil]}"):
        load_vlm(str(folder), dtype="float32", device=CPU)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give the folder of a model, or a hub name"):
        load_vlm(str(tmp_path / "file"), dtype="float32", device=CPU)


def test_a_name_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network\nsecond line")

    monkeypatch.setattr("transformers.utils.hub.cached_file", unreachable)
    with pytest.raises(InputError, match=r"--model no/model: is no folder, and the hub gave .*\(no network\)"):
        load_vlm("no/model", dtype="float32", device=CPU)


def test_options_that_cannot_be_met(load: Callable[..., Vlm], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="precision is 'float16'; known: bfloat16, float32"):
        load(dtype="float16")
    with pytest.raises(InputError, match="--four-bit needs a GPU"):
        load(options=LoadOptions(four_bit=True))
    with pytest.raises(InputError, match=r'LoRA needs nowhere; run: pip install "\.\[vlm\]"'):
        need("nowhere", "LoRA")
    monkeypatch.setattr(models_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="--four-bit needs bitsandbytes; install it"):
        models_module._four_bit(torch.device("cuda"))


def test_a_models_own_pixel_rules_count_and_options_more(
    load: Callable[..., Vlm], folders: Any, tmp_path: Path
) -> None:
    folder = copy_of(folders["qwen3_vl"], tmp_path / "model")
    own = {
        "video_processor_type": "X",
        "size": {"shortest_edge": 5000, "longest_edge": 90_000},
        "image_mean": [0.1] * 3,
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(own))
    rules = load_vlm(str(folder), dtype="float32", device=CPU).processor.rules
    assert (rules.min_pixels, rules.max_pixels, rules.mean) == (5000, 90_000, (0.1, 0.1, 0.1))
    rules = load_vlm(str(folder), dtype="float32", device=CPU, options=LoadOptions(max_pixels=6000)).processor.rules
    assert (rules.min_pixels, rules.max_pixels) == (5000, 6000)
    assert load().processor.rules.max_pixels == 768 * 28 * 28


def test_another_model_has_another_identity(load: Callable[..., Vlm], tmp_path: Path) -> None:
    assert load().identity == load().identity
    other = write_model(tmp_path / "other", "qwen2_5_vl", seed=1)
    assert load_vlm(str(other), dtype="float32", device=CPU).identity != load().identity


# Training.


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("config", [QUICK, ALL], ids=["lora", "all"])
def test_the_loss_falls_and_the_classes_are_distinguished(
    load: Callable[..., Vlm], model_type: str, config: FinetuneConfig
) -> None:
    vlm = load(model_type)
    longer = dataclasses.replace(config, steps=45, batch_size=6, micro_batch=6, vision="all", lr=5e-3)
    before = evaluate_vlm(vlm, clips(9, seed=1), QUICK, RUN)
    tuned = train_vlm(prepare(vlm, longer, RUN), clips(), RUN)
    after = evaluate_vlm(vlm, clips(9, seed=1), QUICK, RUN)
    assert tuned.losses[-1] < tuned.losses[0] / 2
    assert summarize(after, 3)["accuracy"] > max(0.8, summarize(before, 3)["accuracy"])
    assert summarize(after, 3)["accuracy_generated"] > 0.6


def test_what_is_trained(load: Callable[..., Vlm]) -> None:
    adapters = prepare(load(), QUICK, RUN)
    assert adapters.adapters_only
    assert len(adapters.trained) == 2 * 7 * 2  # A and B, seven layers, two blocks
    assert all("lora" in name and "language_model" in name for name in adapters.trained)
    merger = prepare(load(), dataclasses.replace(QUICK, vision="merger"), RUN)
    assert any("visual.merger" in name for name in merger.trained)
    assert not any("visual.blocks" in name for name in merger.trained)
    complete = prepare(load(), ALL, RUN)
    assert len(complete.trained) == len(list(complete.vlm.model.parameters()))
    few = prepare(load(), dataclasses.replace(QUICK, lora_targets=("q_proj",)), RUN)
    assert len(few.trained) == 4
    with pytest.raises(InputError, match="lora_targets are nowhere; the model has no such layers; known: q_proj"):
        prepare(load(), dataclasses.replace(QUICK, lora_targets=("nowhere",)), RUN)


def test_the_loss_is_the_mean_of_each_answers_tokens(load: Callable[..., Vlm]) -> None:
    vlm = load()
    prompts, answers = example_batch(vlm, clips(), "open", range(3), RUN)
    losses = clip_losses(vlm, prompts, answers, "float32")
    for loss, prompt, answer in zip(losses, prompts, answers, strict=True):
        inputs, _ = collate([prompt], [answer], vlm.processor, CPU)
        logits = vlm.model(**inputs).logits[0, len(prompt.ids) - 1 : -1]
        expected = functional.cross_entropy(logits, torch.tensor(answer))
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def gradients(vlm: Vlm, config: FinetuneConfig) -> torch.Tensor:
    prepared = prepare(vlm, dataclasses.replace(config, steps=1, warmup=0, lora_dropout=0), RUN)
    train_vlm(prepared, clips(), RUN)
    return torch.cat([w.grad.reshape(-1) for w in prepared.trained.values() if w.grad is not None])


@pytest.mark.parametrize("change", [{"micro_batch": 1}, {"micro_batch": 3}, {"gradient_checkpointing": True}])
def test_saving_memory_changes_no_gradient(load: Callable[..., Vlm], change: dict[str, Any]) -> None:
    usual, other = gradients(load(), ALL), gradients(load(), dataclasses.replace(ALL, **change))
    torch.testing.assert_close(other, usual, rtol=1e-3, atol=1e-6)


def test_processes_share_a_batch_and_mean_its_gradient(load: Callable[..., Vlm]) -> None:
    """Two processes, run one after the other: the mean of what each would give is what one process has."""
    complete = gradients(load(), ALL)
    parts: list[torch.Tensor] = []
    for rank in (0, 1):
        seen: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(tensor.clone().reshape(-1))
            return tensor

        group, prepared = ProcessGroup(rank, 2, mean=keep), prepare(load(), dataclasses.replace(ALL, steps=1), RUN)
        train_vlm(prepared, clips(), RUN, group=group)
        parts.append(torch.cat(seen[:-1]))  # The last one is the loss.
    mean = (parts[0] + parts[1]) / 2
    norm = mean.norm()
    torch.testing.assert_close(mean * min(1.0, ALL.clip_norm / float(norm)), complete, rtol=1e-3, atol=1e-6)
    with pytest.raises(InputError, match="batch_size is 4, which 3 processes cannot share"):
        train_vlm(prepared, clips(), RUN, group=ProcessGroup(0, 3))
    with pytest.raises(InputError, match=r"rank 2 leaves \[0,2\)"):
        ProcessGroup(2, 2)


def test_batches_hold_every_clip_once_an_epoch_with_new_questions(load: Callable[..., Vlm]) -> None:
    vlm = load()
    first, _ = example_batch(vlm, clips(), "open", range(12), RUN)
    second, _ = example_batch(vlm, clips(), "open", range(12, 24), RUN)
    every = sorted(float(prompt.patches.sum()) for prompt in first)
    assert every == sorted(float(prompt.patches.sum()) for prompt in second)
    assert len(set(every)) == 12
    assert [prompt.ids for prompt in first] != [prompt.ids for prompt in second]
    _, answers = example_batch(vlm, clips(), "yes-no", range(24), RUN)
    texts = [vlm.processor.text_of(answer) for answer in answers]
    assert set(texts) == {"yes", "no"}
    with pytest.raises(InputError, match="--questions is 'riddle'; known: open, choice, yes-no"):
        train_vlm(prepare(vlm, dataclasses.replace(QUICK, questions="riddle"), RUN), clips(), RUN)


def test_the_rate_rises_and_falls_to_zero() -> None:
    config = dataclasses.replace(QUICK, steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3


class KilledError(Exception):
    """What a test ends a run with."""


@pytest.mark.parametrize("config", [QUICK, ALL], ids=["lora", "all"])
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    load: Callable[..., Vlm], config: FinetuneConfig, tmp_path: Path
) -> None:
    longer = dataclasses.replace(config, steps=6, lora_dropout=0.2)
    complete = prepare(load(), longer, RUN)
    untouched = torch.get_rng_state()
    uninterrupted = train_vlm(complete, clips(), RUN)
    assert torch.equal(torch.get_rng_state(), untouched)

    path = tmp_path / "checkpoint.safetensors"

    def kill(step: str, *, done: int, total: int, **_: float) -> None:
        if done == 5:  # One step after the checkpoint: that step is taken again.
            raise KilledError

    killed = dataclasses.replace(RUN, watch=kill)
    with pytest.raises(KilledError):
        train_vlm(prepare(load(), longer, RUN), clips(), killed, checkpoint=Checkpoint(path, {}))
    other_pace = dataclasses.replace(longer, save_every=3)
    again = prepare(load(), other_pace, RUN)
    resumed = train_vlm(again, clips(), RUN, checkpoint=Checkpoint(path, {}))
    assert resumed.first_step == 4
    assert resumed.losses == uninterrupted.losses
    assert trained_bytes(again) == trained_bytes(complete)


def test_a_checkpoint_of_another_run_is_refused(load: Callable[..., Vlm], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def run(**key: int) -> None:
        train_vlm(prepare(load(), QUICK, RUN), clips(), RUN, checkpoint=Checkpoint(path, key))

    run(data=1, seed=3)
    run(data=1, seed=3)
    with pytest.raises(InputError, match=r"is of a run with other settings \(data, lr\); give the same .* --force"):
        run(data=2, seed=3, lr=1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is no readable checkpoint; give --force to start again"):
        run(data=1, seed=3)


def test_a_loss_that_is_not_finite_ends_the_run(load: Callable[..., Vlm]) -> None:
    prepared = prepare(load(), QUICK, RUN)
    with torch.no_grad():
        prepared.vlm.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"loss of fine-tuning is nan at step 0; lower --lr \(it was 0.003\)"):
        train_vlm(prepared, clips(), RUN)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[x] DefaultCPUAllocator: can't allocate memory")],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_names_what_helps(load: Callable[..., Vlm], error: Exception) -> None:
    prepared = prepare(load(), QUICK, RUN)

    def exhausted(*_: object, **__: object) -> None:
        raise error

    prepared.vlm.model.model.forward = exhausted
    with pytest.raises(InputError, match=r"not enough memory for training; give --micro-batch 1, .*--max-pixels, --gr"):
        train_vlm(prepared, clips(), RUN)
    with pytest.raises(RuntimeError, match="something else"), explain_memory("x"):
        raise RuntimeError("something else")


def test_bfloat16_trains_adapters_in_float32(load: Callable[..., Vlm]) -> None:
    config = dataclasses.replace(QUICK, precision="bfloat16")
    assert (config.dtype, dataclasses.replace(config, lora_rank=0).dtype) == ("bfloat16", "float32")
    prepared = prepare(load(dtype=config.dtype), config, RUN)
    assert {weight.dtype for weight in prepared.trained.values()} == {torch.float32}
    assert prepared.vlm.model.lm_head.weight.dtype == torch.bfloat16
    tuned = train_vlm(prepared, clips(), RUN)
    assert tuned.losses[-1] < tuned.losses[0]
    assert len(evaluate_vlm(prepared.vlm, clips(3), config, RUN)) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": 0}, "--steps is 0; it must be at least 1"),
        ({"lr": 0.0}, "--lr is 0.0; it must be above 0"),
        ({"lora_rank": -1}, "--lora-rank is -1; it must be at least 0"),
        ({"lora_dropout": 1.0}, r"--lora-dropout is 1.0; it must be in \[0,0.99\]"),
        ({"vision": "half"}, "--vision is 'half'; known: frozen, merger, all"),
        ({"precision": "int8"}, "--precision is 'int8'; known: bfloat16, float32"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        dataclasses.replace(QUICK, **change)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own
@pytest.mark.parametrize("config", [QUICK, ALL, dataclasses.replace(QUICK, vision="all")], ids=["lora", "all", "both"])
def test_what_was_trained_is_read_back(load: Callable[..., Vlm], config: FinetuneConfig, tmp_path: Path) -> None:
    import peft

    prepared = prepare(load(), config, RUN)
    train_vlm(prepared, clips(), RUN)
    scores = evaluate_vlm(prepared.vlm, clips(2), QUICK, RUN, generate=False)[0].scores
    where = tmp_path / "saved"
    prepared.save(where)
    if prepared.adapters_only:
        again = load()
        peft.PeftModel.from_pretrained(again.model, where)
    else:
        again = load_vlm(str(where), dtype="float32", device=CPU, options=SMALL)
    assert prepared.adapters_only == (config == QUICK)
    read = evaluate_vlm(again, clips(2), QUICK, RUN, generate=False)[0].scores
    assert read == pytest.approx(scores, abs=1e-4)


def test_metrics_of_a_resumed_run_continue_its_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []
    with metrics_log(tmp_path, lambda step, **numbers: seen.append(int(numbers["done"]))) as log:
        log("finetune", done=0, total=4)
        for done in (1, 2, 3):
            log("finetune", done=done, total=4, loss=1.0 / done, lr=0.1, tokens=5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with metrics_log(tmp_path, lambda step, **numbers: None) as log:
        log("finetune", done=2, total=4)
        log("finetune", done=3, total=4, loss=0.5, lr=0.1, tokens=5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 0.5)]
    assert seen == [0, 1, 2, 3]


def test_tensorboard_gets_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra vlm")
    with metrics_log(tmp_path, lambda step, **numbers: None) as log:
        log("finetune", done=0, total=1)
        log("finetune", done=1, total=1, loss=2.5)
    events = next((tmp_path / "tensorboard").iterdir()).read_bytes()
    assert b"loss" in events


# Evaluation.


@pytest.mark.parametrize("model_type", TYPES)
def test_scores_are_those_of_complete_sequences(
    load: Callable[..., Vlm], model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and values of the prompt are kept; without, each name goes through the model after the complete prompt."""
    monkeypatch.setattr(evaluate_module, "CLASSES_AT_ONCE", 2)
    vlm = load(model_type)
    choice = dataclasses.replace(QUICK, questions="choice")
    for row, answer in enumerate(evaluate_vlm(vlm, clips(2), choice, RUN)):
        draw = RUN.generator(f"question/{row}.mp4")
        prompt = vlm.processor.prompt(clips(2).frames(row), ask("choice", row, NAMES, draw)[0].text)
        assert answer.num_tokens == len(prompt.ids)
        for name, score in zip(NAMES, answer.scores, strict=True):
            with torch.no_grad():
                expected = -clip_losses(vlm, [prompt], [vlm.processor.answer(name)], "float32")
            assert score == pytest.approx(float(expected), abs=2e-4)


@pytest.mark.parametrize("model_type", TYPES)
def test_free_answers_are_those_of_generate(load: Callable[..., Vlm], model_type: str) -> None:
    vlm = load(model_type)
    answer = evaluate_vlm(vlm, clips(1), QUICK, RUN)[0]
    question = ask("open", 0, NAMES, RUN.generator("question/0.mp4"))[0]
    prompt = vlm.processor.prompt(clips(1).frames(0), question.text)
    inputs, _ = collate([prompt], [()], vlm.processor, CPU)
    tokens = vlm.model.generate(**inputs, max_new_tokens=24, do_sample=False, eos_token_id=vlm.processor.end_id)
    assert answer.text == vlm.processor.text_of(tokens[0, inputs["input_ids"].shape[1] :].tolist())
    assert answer.text


def test_processes_share_the_videos(load: Callable[..., Vlm]) -> None:
    vlm = load()
    alone = evaluate_vlm(vlm, clips(5), QUICK, RUN, generate=False)
    kept: list[Any] = []

    def other_first(rows: list[Any]) -> list[Any]:
        kept.extend(rows)
        return kept

    evaluate_vlm(vlm, clips(5), QUICK, RUN, generate=False, group=ProcessGroup(1, 2, gather=other_first))
    both = evaluate_vlm(vlm, clips(5), QUICK, RUN, generate=False, group=ProcessGroup(0, 2, gather=other_first))
    assert both == alone


def test_predictions_are_counted() -> None:
    def predictions(*matched: int | None) -> list[Prediction]:
        rows = zip((0, 0, 1, 1), ((-1, -2), (-3, -2), (-5, -4), (-2, -2)), matched, strict=True)
        return [Prediction("v.mp4", label, scores, 10, "", free) for label, scores, free in rows]

    summary = summarize(predictions(0, UNMATCHED, 0, 1), 2)
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_generated"] == 0.5
    assert summary["num_unmatched"] == 1
    assert summary["confusion"] == ((1, 1), (1, 1))
    assert (summary["num_clips"], summary["evaluation_tokens"]) == (4, 40)
    without = summarize(predictions(None, None, None, None), 2)
    assert without["accuracy_generated"] is None
    assert without["num_unmatched"] is None
    with pytest.raises(InputError, match="no video to evaluate on"):
        summarize((), 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run", 0),
        ("run fast.", 1),
        ("They RUN_FAST, I think", 1),
        ("a runner", UNMATCHED),
        ("run or jump", UNMATCHED),
        ("run fast and jump", UNMATCHED),
        ("", UNMATCHED),
        ("It is: jump!", 2),
    ],
)
def test_a_free_answer_is_matched_to_a_class(text: str, expected: int) -> None:
    assert match_class(text, ("run", "run fast", "jump")) == expected


def test_after_yes_or_no_a_choice_evaluates(load: Callable[..., Vlm]) -> None:
    yes_no, choice = (dataclasses.replace(QUICK, questions=kind) for kind in ("yes-no", "choice"))
    vlm = load()
    assert evaluate_vlm(vlm, clips(1), yes_no, RUN) == evaluate_vlm(vlm, clips(1), choice, RUN)
