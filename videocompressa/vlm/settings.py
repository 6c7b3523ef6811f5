"""Options of an export and of fine-tuning: the command line's help. No torch here, so that help appears at once."""

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Literal, get_args

from videocompressa.errors import InputError, check_known, check_least, check_within
from videocompressa.recipes.options import NumBytes

Phase = Literal["zero-shot", "set", "full"]
"""One evaluation of a model: as it is, after the set file, or after all training videos."""

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of the language model that LoRA adapts: all of them (Dettmers et al. 2023, arXiv 2305.14314)."""

VISION = ("frozen", "merger", "all")
PRECISIONS = ("bfloat16", "float32")
MOST_VIEWS = 10_000
"""Views a clip of one export (our choice: a mistyped number must not fill a disk)."""
_SHARD_BYTES = NumBytes("256MB")
NO_RESULT = ("micro_batch", "save_every", "gradient_checkpointing")
"""Settings that change time and memory only (and rounding)."""


@dataclass(frozen=True)
class ExportOptions:
    """What an export shows and asks."""

    from_source: Path | None = None
    """Folder of the videos that were compressed: pictures are read from them, at their own size."""
    names: Path | None = None
    """A json of {class: words}, in place of the words of the class names."""
    questions: Literal["open", "choice", "yes-no"] = "open"
    """open asks what is seen, choice lists all classes, yes-no asks about the class and about another one."""
    seed: int = 0
    """Seed of the questions, and of the views."""
    codec: str | None = None
    """Where the set's codec is, when the file does not name it: diffusers:FOLDER."""
    views: int = 0
    """webdataset: random views of each clip, labeled by the set's labeler; 0 writes the clips with their stored
    labels."""
    shard_size: NumBytes = _SHARD_BYTES
    """webdataset and webdataset-frames: largest tar file (one sample may be larger), such as 256MB."""

    def __post_init__(self) -> None:
        if not 0 <= self.views <= MOST_VIEWS:
            more = "; for more, export again with another --seed" if self.views > 0 else ""
            raise InputError(f"--views is {self.views}; give 0 (the clips as they are) to {MOST_VIEWS}{more}")


@dataclass(frozen=True)
class FinetuneOptions:
    """Which model is evaluated, on what, and after which training."""

    model: str | None = None
    """Hub name or folder of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL model; recipes have one of their own."""
    zero_shot: bool = True
    """Evaluate the model as it is."""
    after_set: bool = True
    """Evaluate it after training on the set file."""
    full: bool = False
    """Evaluate it after training on all training videos of DATA, with the same number of steps."""
    from_source: Path | None = None
    """Show frames at their videos' own size: the folder that was compressed. The set determines which frames."""
    names: Path | None = None
    """A json {class: words} where the rule (TableTennisShot: table tennis shot) does not suit."""
    generate: bool = True
    """Also evaluate free answers."""
    split: Literal["test", "val"] = "test"
    """Videos to evaluate on."""
    seed: int = 0
    """Equal seeds give equal results on a CPU."""
    codec: str | None = None
    """Where the set's codec is, when the file does not name it: diffusers:FOLDER."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What to evaluate, in order."""
        return tuple(compress(get_args(Phase), (self.zero_shot, self.after_set, self.full)))


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded."""

    min_pixels: int | None = None
    """Smallest number of pixels of a frame (Qwen3-VL: of all frames); the model's own when not given."""
    max_pixels: int | None = None
    """Largest; fewer pixels take less memory and time."""
    four_bit: bool = False
    """Hold the frozen weights in 4 bits (NF4); needs bitsandbytes and a GPU."""

    def __post_init__(self) -> None:
        check_least(self, "--", min_pixels=1, max_pixels=1)


@dataclass(frozen=True)
class FinetuneConfig:
    """How a model is fine-tuned; those of `NO_RESULT` change no result."""

    steps: int = 200
    """Optimizer steps, >= 1, the same for a set file and for all videos."""
    batch_size: int = 16
    """Clips a step, over all processes."""
    micro_batch: int = 4
    """Clips that go through the model at once; fewer take less memory and more time."""
    lr: float = 1e-4
    """Highest learning rate, > 0; 1e-5 suits rank 0 of a trained model."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises, in [0,1]."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """Largest norm of the gradient, > 0."""
    lora_rank: int = 16
    """Rank of the adapters; 0 trains all weights of the language model."""
    lora_alpha: float = 32.0
    """Adapters are scaled by alpha / rank."""
    lora_dropout: float = 0.05
    """In [0,1)."""
    lora_targets: tuple[str, ...] = TARGETS
    """Last names of the linear layers that are adapted."""
    vision: str = "frozen"
    """What is trained of the vision tower: "frozen" nothing, "merger" the layers to the language model, "all"."""
    precision: str = "bfloat16"
    """"bfloat16" or "float32": of the arithmetic, and of frozen weights."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    questions: str = "choice"
    """Kind of question in training: open, choice or yes-no."""
    save_every: int = 50
    """Steps from one checkpoint to the next, >= 1."""

    def __post_init__(self) -> None:
        check_least(self, "--", steps=1, batch_size=1, micro_batch=1, save_every=1, lora_rank=0)
        check_within(self, "--", lr="(0,inf)", clip_norm="(0,inf)", lora_alpha="(0,inf)", warmup="[0,1]")
        check_within(self, "--", lora_dropout="[0,0.99]")
        check_known("--vision is", self.vision, VISION)
        check_known("--precision is", self.precision, PRECISIONS)

    @property
    def evaluation_questions(self) -> str:
        """The kind of question in evaluation, a class name its answer: that of training, or choice for yes-no."""
        return "choice" if self.questions == "yes-no" else self.questions

    @property
    def dtype(self) -> str:
        """The numbers that weights are loaded in: trained ones need more digits than bfloat16 has."""
        return "float32" if self.lora_rank == 0 else self.precision
