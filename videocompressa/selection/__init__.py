"""Selection: which frames and which videos are kept, the first half of the paper."""

from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig
from videocompressa.selection.joint import JointConfig, find_selector
from videocompressa.selection.keyframes import (
    FIXED_SELECTORS,
    Selector,
    UniformSelector,
    check_keyframes,
    check_selector,
)
from videocompressa.selection.videos import FeaturesOf, check_enough, check_subset, choose_videos

__all__ = [
    "FIXED_SELECTORS",
    "FeaturesOf",
    "GumbelSelector",
    "JointConfig",
    "Selector",
    "SelectorConfig",
    "UniformSelector",
    "check_enough",
    "check_keyframes",
    "check_selector",
    "check_subset",
    "choose_videos",
    "find_selector",
]
