"""Frames to patches and words to tokens: by hand, and as the official processors do where torchvision imports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torchvision_runs import run_with_torchvision
from vlm_models import TYPES, qwen_tokenizer_folder, write_byte_tokenizer

from videocompressa.errors import InputError
from videocompressa.vlm.export.items import VideoFrames
from videocompressa.vlm.tune.families import MODEL_FAMILIES, PixelRules, find_family
from videocompressa.vlm.tune.processor import (
    IGNORED,
    VideoProcessor,
    collate,
    seconds_per_patch,
    to_patches,
)

RULES = PixelRules(patch=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), min_pixels=1, max_pixels=10**6)


def clip(num_frames: int = 4, height: int = 32, width: int = 32, seed: int = 0) -> VideoFrames:
    shape = (num_frames, 3, height, width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return VideoFrames(pixels, torch.arange(num_frames, dtype=torch.float64))


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VideoProcessor]:
    pytest.importorskip("transformers", reason="needs the extra vlm")
    tokenizer = write_byte_tokenizer(tmp_path_factory.mktemp("bytes"))
    processors = {}
    for name, family in MODEL_FAMILIES.items():
        rules = dataclasses.replace(family.rules, min_pixels=1)
        processors[name] = VideoProcessor(tokenizer, family, rules)
    return processors


# Patches.


def test_a_patch_is_a_block_of_the_frames_and_four_of_a_token_are_adjacent() -> None:
    frames = clip(4, 8, 12).frames
    patches, grid = to_patches(frames, RULES)
    assert grid == (2, 4, 6)
    assert patches.shape == (48, 3 * 2 * 2 * 2)
    pixels = frames.float() / 255 * 2 - 1
    # Order within a temporal patch: token by token, and within a token row by row.
    order = [(2 * r + a, 2 * c + b) for r in range(2) for c in range(3) for a in range(2) for b in range(2)]
    for time in range(2):
        for place, (row, column) in enumerate(order):
            block = pixels[2 * time : 2 * time + 2, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            expected = block.transpose(0, 1).reshape(-1)  # channel, time, row, column
            torch.testing.assert_close(patches[24 * time + place], expected)


@given(
    st.sampled_from(TYPES),
    st.integers(1, 12).map(lambda half: 2 * half),
    st.integers(8, 2000),
    st.integers(8, 2000),
)
def test_sizes_are_complete_tokens_within_the_bounds(model_type: str, num_frames: int, height: int, width: int) -> None:
    if max(height, width) > 100 * min(height, width):
        return
    rules = MODEL_FAMILIES[model_type].rules
    target = rules.target_size(num_frames, height, width)
    assert all(side > 0 and side % rules.factor == 0 for side in target)
    pixels = target[0] * target[1] * (num_frames if rules.per_video else 1)
    assert pixels >= rules.min_pixels
    # A side of one token is the least, so a narrow video may keep more.
    assert pixels <= rules.max_pixels or rules.factor in target


def test_a_size_that_fits_is_kept() -> None:
    assert MODEL_FAMILIES["qwen2_5_vl"].rules.target_size(4, 336, 448) == (336, 448)
    assert MODEL_FAMILIES["qwen2_5_vl"].rules.target_size(4, 112, 112) == (336, 336)  # 317 x 317 px is the least


def test_an_odd_count_repeats_the_last_frame() -> None:
    padded = clip(3).padded(2)
    assert torch.equal(padded.frames[3], padded.frames[2])
    assert padded.times_seconds.tolist() == [0, 1, 2, 2]
    assert clip(4).padded(2).frames.shape[0] == 4


def test_seconds_from_patch_to_patch() -> None:
    assert seconds_per_patch(torch.tensor([0.0, 0.5, 1.0, 1.5]), 2) == 1.0
    assert seconds_per_patch(torch.tensor([0.0, 1.0, 4.0, 4.0]), 2) == 4.0  # the repeated frame is no step
    assert seconds_per_patch(torch.tensor([3.0, 3.0]), 2) == 2.0


def test_bad_frames_are_refused() -> None:
    with pytest.raises(InputError, match=r"float32 \(4, 3, 8, 8\); give uint8"):
        VideoFrames(torch.zeros(4, 3, 8, 8), torch.zeros(4))
    with pytest.raises(InputError, match="give one for each of 4"):
        VideoFrames(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(3))
    with pytest.raises(InputError, match=r"frames of 8x2000 px are too long; the models take at most 200 to 1"):
        RULES.target_size(4, 8, 2000)
    with pytest.raises(InputError, match="--min-pixels 5 and --max-pixels 4"):
        dataclasses.replace(RULES, min_pixels=5, max_pixels=4)


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"of type 'llama', which is not supported; known: qwen2_vl \(.*qwen3"):
        find_family("llama", "some/model")


# Words.


@pytest.mark.parametrize("model_type", TYPES)
def test_a_video_token_represents_each_merged_patch(processors: dict[str, VideoProcessor], model_type: str) -> None:
    processor = processors[model_type]
    prompt = processor.prompt(clip(3, 64, 96), "What is it?")
    assert prompt.grid[0] == 2
    assert prompt.ids.count(processor.video_id) == prompt.grid[0] * prompt.grid[1] * prompt.grid[2] // 4
    assert len(prompt.patches) == prompt.grid[0] * prompt.grid[1] * prompt.grid[2]
    text = processor.tokenizer.decode(list(prompt.ids))
    assert text.endswith("What is it?<|im_end|>\n<|im_start|>assistant\n")
    assert text.startswith("<|im_start|>user" if model_type == "qwen3_vl" else "<|im_start|>system\nYou are a helpful")


def test_qwen3_gets_the_time_of_every_temporal_patch(processors: dict[str, VideoProcessor]) -> None:
    video = VideoFrames(clip(4).frames, torch.tensor([0.0, 1.0, 2.5, 4.0], dtype=torch.float64))
    text = processors["qwen3_vl"].tokenizer.decode(list(processors["qwen3_vl"].prompt(video, "?").ids))
    assert text.count("<|vision_start|>") == 2
    assert "<0.5 seconds><|vision_start|>" in text
    assert "<3.2 seconds><|vision_start|>" in text


def test_a_question_with_a_token_of_the_model_is_refused(processors: dict[str, VideoProcessor]) -> None:
    with pytest.raises(InputError, match="write it without any token of the model"):
        processors["qwen2_5_vl"].prompt(clip(), "Is <|video_pad|> it?")


def test_only_the_answer_is_learned(processors: dict[str, VideoProcessor]) -> None:
    processor = processors["qwen2_5_vl"]
    prompts = [processor.prompt(clip(4), "A longer question?"), processor.prompt(clip(2), "Q?")]
    answers = [processor.answer("cat"), processor.answer("a dog")]
    inputs, labels = collate(prompts, answers, processor, torch.device("cpu"))
    for row, answer in enumerate(answers):
        learned = labels[row]
        assert tuple(learned[learned != IGNORED].tolist()) == answer
        assert answer[-1] == processor.end_id
        length = len(prompts[row].ids) + len(answer)
        assert int(inputs["attention_mask"][row].sum()) == length
        assert torch.equal(inputs["input_ids"][row, : len(prompts[row].ids)], torch.tensor(prompts[row].ids))
    assert torch.equal(inputs["mm_token_type_ids"] == 2, inputs["input_ids"] == processor.video_id)
    assert inputs["video_grid_thw"].tolist() == [list(prompt.grid) for prompt in prompts]
    assert inputs["second_per_grid_ts"].tolist() == [2.0, 2.0]


# The official processors.


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 130), (40, 36)])
@pytest.mark.parametrize("model_type", TYPES)
def test_patches_and_tokens_are_those_of_the_official_processor(
    model_type: str, size: tuple[int, int], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra vlm")
    folder = qwen_tokenizer_folder()
    smallest, largest = 4096, 60_000
    video = clip(4, *size, seed=1)
    save_file({"frames": video.frames, "bounds": torch.tensor([smallest, largest])}, tmp_path / "in.safetensors")
    paths = (tmp_path / "in.safetensors", folder, tmp_path / "out.safetensors")
    run_with_torchvision("official_processor.py", model_type, *paths)
    official = load_file(tmp_path / "out.safetensors")
    family = dataclasses.replace(MODEL_FAMILIES[model_type], system="")
    rules = dataclasses.replace(family.rules, min_pixels=smallest, max_pixels=largest)
    processor = VideoProcessor(transformers.AutoTokenizer.from_pretrained(folder), family, rules)
    halves = VideoFrames(video.frames, video.times_seconds / 2)  # The script has 2 frames a second.
    prompt = processor.prompt(halves, "What is it?")
    assert prompt.grid == tuple(official["video_grid_thw"][0].tolist())
    worst = (prompt.patches - official["pixel_values_videos"]).abs().max()
    assert float(worst) <= 1 / 255 / min(rules.std) + 1e-5  # one step of a pixel; zero on our machines
    assert float((prompt.patches - official["pixel_values_videos"]).abs().mean()) < 1e-4
    theirs = official["input_ids"][0].tolist()
    assert list(prompt.ids[: len(theirs)]) == theirs
    if "second_per_grid_ts" in official:
        assert prompt.seconds_per_patch == pytest.approx(float(official["second_per_grid_ts"][0]))
