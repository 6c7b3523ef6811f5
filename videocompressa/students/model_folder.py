"""Trained students as folders, which `predict` reads.

`videocompressa.json` says what the student is, its classes and its clips; the weights are one safetensors file. A
backbone's folder is one of transformers, with its classes in config.json and its preprocessor's file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from videocompressa.clip import ClipSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.files import complete_folder
from videocompressa.networks import Classifier
from videocompressa.students.backbones import Backbone, load_trained
from videocompressa.students.named import build_named, parse_student

FORMAT = 1
FILE, WEIGHTS, RULES = "videocompressa.json", "model.safetensors", "preprocessor_config.json"


@dataclass(frozen=True)
class TrainedModel:
    """A trained student with what it was trained on."""

    student: Classifier
    name: str
    """As `--student` names it."""
    width: float
    """Of `networks.STUDENTS`."""
    classes: tuple[str, ...]
    """L class names in label order."""
    clip: ClipSpec
    normalization: Normalization
    """Of its training clips; that of a backbone counts before it."""
    video_hashes: tuple[str, ...] = ()
    """Of the videos that it, or its set, was made from (`DecodedSplit.video_hashes`); () where they are not known."""


def write_model(model: TrainedModel, folder: Path, *, overwrite: bool = False) -> None:
    """Write a trained student to a folder, which is complete or untouched. Raises `InputError`."""
    content = {name: value for name, value in vars(model).items() if name != "student"}
    content = {"format": FORMAT, **content, "clip": vars(model.clip), "normalization": vars(model.normalization)}
    with complete_folder(folder, overwrite=overwrite) as part:
        (part / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
        if isinstance(model.student, Backbone):
            model.student.save(part)
            (part / RULES).write_text(json.dumps(model.student.preprocessor.rules), encoding="utf-8")
        else:
            weights = {name: weight.cpu().contiguous() for name, weight in model.student.state_dict().items()}
            save_file(weights, part / WEIGHTS)


def read_model(folder: Path) -> TrainedModel:
    """Return the trained student of a folder, in evaluation mode, on the CPU. Raises `InputError`."""
    advice = "give a folder that train --save-model wrote"
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"model {folder}: has no {FILE}; {advice}") from None
    except ValueError as error:
        raise InputError(f"model {folder}: {FILE} is not json ({error}); {advice}") from None
    try:
        if content.pop("format") != FORMAT:
            raise InputError(f"model {folder}: is of another format; this version reads format {FORMAT}")
        classes, clip = tuple(content["classes"]), ClipSpec(**content["clip"])
        mean, std = content["normalization"]["mean"], content["normalization"]["std"]
        normalization = Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
        name, width = str(content["name"]), float(content["width"])
        hashes = tuple(map(str, content.get("video_hashes", ())))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"model {folder}: {FILE} is incomplete ({error!r}); {advice}") from None
    if parse_student(name).kind == "hf":
        student: Classifier = load_trained(folder)
    else:
        student = build_named(name, classes, clip, torch.Generator(), width=width)
        try:
            student.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise InputError(f"model {folder}: {WEIGHTS} does not hold its weights ({first_line}); {advice}") from None
    if student.num_classes != len(classes):
        raise InputError(f"model {folder}: has {len(classes)} classes, its weights {student.num_classes}; {advice}")
    return TrainedModel(student.eval(), name, width, classes, clip, normalization, hashes)
