"""The paper's method."""

from videocompressa.methods.videocompressa.method import BYTES, VideoCompressaConfig, compress

__all__ = ["BYTES", "VideoCompressaConfig", "compress"]
