"""Training students on labeled clips, and judging them.

1. `fit` trains a fresh student: batches without replacement, one augmentation for all frames of a clip, fixed
   normalization. It never sees test data.
2. `evaluate` reads a test set once, on unchanged clips.
3. `soft_labels` lets trained students (teachers) label clips: mean probabilities over teachers and augmented views.
4. `train_seeds` repeats 1 and 2 over seeds. A run whose loss stops being finite is counted, never averaged.
"""

from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import (
    Scores,
    check_views,
    evaluate,
    predict,
    score,
    soft_labels,
    student_features,
)
from videocompressa.students.losses import logit_mse
from videocompressa.students.seeds import Result, train_seeds
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import Show, fit
from videocompressa.students.views import augmented, moved, recolored

__all__ = [
    "LabeledClips",
    "Result",
    "Scores",
    "Show",
    "TrainConfig",
    "augmented",
    "check_views",
    "evaluate",
    "fit",
    "logit_mse",
    "moved",
    "predict",
    "recolored",
    "score",
    "soft_labels",
    "student_features",
    "train_seeds",
]
