"""Video files in and out: what a file holds (`probe`), T even frames of it (`read_clip`), and `write_video`."""

from videocompressa.video.decode import Decoded, VideoInfo, file_sha256, probe, read_clip, read_frames
from videocompressa.video.write import write_png, write_video

__all__ = ["Decoded", "VideoInfo", "file_sha256", "probe", "read_clip", "read_frames", "write_png", "write_video"]
