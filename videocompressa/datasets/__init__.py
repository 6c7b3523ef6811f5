"""Labeled videos: finding them (`find_videos`), a validation split by group, and the encode pass over them."""

from videocompressa.datasets.candidates import decode_split, encode_pass
from videocompressa.datasets.layouts import find_videos, locate_videos, unlabeled_videos
from videocompressa.datasets.videos import VideoEntry, VideoSet
from videocompressa.errors import BadVideo

__all__ = [
    "BadVideo",
    "VideoEntry",
    "VideoSet",
    "decode_split",
    "encode_pass",
    "find_videos",
    "locate_videos",
    "unlabeled_videos",
]
