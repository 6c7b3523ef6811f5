"""The inputs that the official processors compute from frames: a process of its own, because it needs torchvision.

    python official_processor.py TYPE FRAMES.safetensors TOKENIZER_FOLDER OUT.safetensors [--stub-operators]

FRAMES holds `frames` (F,3,H,W) uint8 and `bounds` (2,) int64, the smallest and largest number of pixels.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file, save_file
from torchvision_runs import declare_operators

FPS = 2.0


def main(model_type: str, frames_path: str, tokenizer_folder: str, out_path: str) -> None:
    import transformers

    given = load_file(frames_path)
    smallest, largest = given["bounds"].tolist()
    kinds = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL"}
    video_processor = getattr(transformers, f"{kinds[model_type]}VideoProcessor")(
        size={"shortest_edge": smallest, "longest_edge": largest}, do_sample_frames=False, cap_pixels_per_frame=False
    )
    names = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
    image_processor = transformers.Qwen2VLImageProcessor()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    processor = getattr(transformers, names[model_type])(image_processor, tokenizer, video_processor)
    count = len(given["frames"])
    metadata = {"fps": FPS, "total_num_frames": count, "frames_indices": list(range(count)), "duration": count / FPS}
    # Qwen3-VL's processor writes the marks of the vision block itself.
    tag = "<|video_pad|>" if model_type == "qwen3_vl" else "<|vision_start|><|video_pad|><|vision_end|>"
    out = processor(
        text=[f"<|im_start|>user\n{tag}What is it?<|im_end|>\n"],
        videos=[given["frames"]],
        videos_kwargs={"video_metadata": [metadata], "do_sample_frames": False},
        return_tensors="pt",
    )
    kept = {name: torch.as_tensor(value) for name, value in out.items() if name != "video_metadata"}
    save_file({name: value.contiguous() for name, value in kept.items()}, out_path)


if __name__ == "__main__":
    library = declare_operators()
    main(*sys.argv[1:5])
