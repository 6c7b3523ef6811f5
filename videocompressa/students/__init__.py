"""Students: small video classifiers trained on labeled clips, and their scores.

`fit` trains a fresh student and never sees test data; `evaluate` reads a test set once, on unchanged clips;
`soft_labels` labels clips by trained students (teachers); `train_seeds` repeats `fit` and `evaluate` over seeds.
"""

from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import evaluate, predict, student_features
from videocompressa.students.networks import STUDENTS, Student, build_student, check_size, check_student
from videocompressa.students.seeds import TrainingResult, train_seeds
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import (
    RealClips,
    TeacherConfig,
    check_labels,
    real_clips,
    soft_labels,
    train_teachers,
)
from videocompressa.students.training import fit
from videocompressa.students.views import augmented

__all__ = [
    "STUDENTS",
    "LabeledClips",
    "RealClips",
    "Student",
    "TeacherConfig",
    "TrainConfig",
    "TrainingResult",
    "augmented",
    "build_student",
    "check_labels",
    "check_size",
    "check_student",
    "evaluate",
    "fit",
    "predict",
    "real_clips",
    "soft_labels",
    "student_features",
    "train_seeds",
    "train_teachers",
]
