"""Every method by name."""

from videocompressa.errors import check_known
from videocompressa.methods.config import MethodConfig
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.methods.lvdd import LvddConfig
from videocompressa.methods.matched import DM, MTT
from videocompressa.methods.noise import NoiseConfig
from videocompressa.methods.rded import RdedConfig
from videocompressa.methods.reencode import ReencodeConfig
from videocompressa.methods.typical_clips import TypicalClipsConfig
from videocompressa.methods.vdsd import VDSD_DM, VDSD_MTT
from videocompressa.methods.videocompressa.method import VideoCompressaConfig

METHODS: dict[str, MethodConfig] = {
    "videocompressa": VideoCompressaConfig(),
    "typical-clips": TypicalClipsConfig(),
    "random-real": CoresetConfig(subset="random"),
    "herding-real": CoresetConfig(subset="herding"),
    "k-center-real": CoresetConfig(subset="k-center"),
    "facility-location-real": CoresetConfig(subset="facility-location"),
    "rded": RdedConfig(),
    "dm": DM,
    "mtt": MTT,
    "lvdd": LvddConfig(),
    "lvdd-random": LvddConfig(select="random"),
    "lvdd-k-means": LvddConfig(select="k-means"),
    "lvdd-scaled": LvddConfig(kernel="scaled"),
    "real-h264": ReencodeConfig(coder="h264"),
    "real-av1": ReencodeConfig(coder="av1"),
    "real-webp": ReencodeConfig(coder="webp"),
    "herding-h264": ReencodeConfig(coder="h264", subset="herding"),
    "herding-av1": ReencodeConfig(coder="av1", subset="herding"),
    "herding-webp": ReencodeConfig(coder="webp", subset="herding"),
    "vdsd-dm": VDSD_DM,
    "vdsd-mtt": VDSD_MTT,
    "noise": NoiseConfig(),
}
"""Methods by name; those that end in "-real" store real keyframes as they are, those that end in the name of a real
codec fill a given size with re-encoded clips; "noise" is a control."""


def find_method(name: str) -> MethodConfig:
    """Return the method of this name with its defaults; raises `InputError` with the known names."""
    check_known("unknown method", name, METHODS)
    return METHODS[name]
