"""Students: small video classifiers trained on labeled clips, and how well they do.

1. `fit` trains a fresh student: batches without replacement, one augmentation for all frames of a clip, fixed
   normalization. It never sees test data.
2. `evaluate` reads a test set once, on unchanged clips.
3. `soft_labels` labels clips by trained students (teachers): mean probabilities over teachers and augmented views.
4. `train_seeds` repeats 1 and 2 over seeds. A run whose loss stops being finite is counted, never averaged.
"""

from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import Scores, evaluate, predict, score, soft_labels, student_features
from videocompressa.students.networks import STUDENTS, Student, build_student, check_size, check_student
from videocompressa.students.seeds import Result, train_seeds
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import RealClips, TeacherConfig, check_labels, real_clips, train_teachers
from videocompressa.students.training import fit
from videocompressa.students.views import augmented

__all__ = [
    "STUDENTS",
    "LabeledClips",
    "RealClips",
    "Result",
    "Scores",
    "Student",
    "TeacherConfig",
    "TrainConfig",
    "augmented",
    "build_student",
    "check_labels",
    "check_size",
    "check_student",
    "evaluate",
    "fit",
    "predict",
    "real_clips",
    "score",
    "soft_labels",
    "student_features",
    "train_seeds",
    "train_teachers",
]
