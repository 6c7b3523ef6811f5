"""Labeled videos: finding them (`find_videos`), a validation split by group, and the encode pass over them."""

from videocompressa.datasets.candidates import decode_split, encode_pass
from videocompressa.datasets.layouts import LAYOUTS, find_videos, walk_videos
from videocompressa.datasets.videos import SPLITS, VideoEntry, VideoSet, carve_validation, keep_classes
from videocompressa.errors import BadVideo

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "BadVideo",
    "VideoEntry",
    "VideoSet",
    "carve_validation",
    "decode_split",
    "encode_pass",
    "find_videos",
    "keep_classes",
    "walk_videos",
]
