"""Training students on labelled clips, and judging them.

1. `fit` trains a fresh student: batches without replacement, one augmentation for all frames of a clip, fixed
   normalisation. It never sees test data.
2. `evaluate` reads a test set once, on unchanged clips.
3. `soft_labels` lets trained students (teachers) label clips: mean probabilities over teachers and augmented views.
4. `train_seeds` repeats 1 and 2 over seeds. A run whose loss stops being finite is counted, never averaged.
"""

from videocompressa.train.clips import LabelledClips
from videocompressa.train.fitting import Show, fit
from videocompressa.train.judging import Scores, check_views, evaluate, predict, score, soft_labels, student_features
from videocompressa.train.losses import logit_mse
from videocompressa.train.seeds import Result, train_seeds
from videocompressa.train.settings import TrainConfig
from videocompressa.train.views import augmented, moved, recoloured

__all__ = [
    "LabelledClips",
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
    "recoloured",
    "score",
    "soft_labels",
    "student_features",
    "train_seeds",
]
