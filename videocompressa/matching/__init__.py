"""Matching: synthetic clips tuned until networks respond to them as to real ones."""

from videocompressa.matching.experts import ExpertConfig
from videocompressa.matching.objectives import DMConfig, Matching, MatchingConfig, MTTConfig, ShowClips
from videocompressa.matching.tuning import check_tuning, decoded_clips, into_range, tune

__all__ = [
    "DMConfig",
    "ExpertConfig",
    "MTTConfig",
    "Matching",
    "MatchingConfig",
    "ShowClips",
    "check_tuning",
    "decoded_clips",
    "into_range",
    "tune",
]
