"""The paper's method."""

from videocompressa.methods.videocompressa.method import VideoCompressaConfig
from videocompressa.methods.videocompressa.pool import PoolConfig
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig

__all__ = ["PoolConfig", "SynthesisConfig", "VideoCompressaConfig"]
