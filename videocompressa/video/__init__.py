"""Video files in and out: `probe`, `read_clip` (T even frames), `read_frames_at` (given times), `write_video`."""

from videocompressa.video.decode import VideoInfo, probe, read_clip, read_frames, read_frames_at
from videocompressa.video.write import write_png, write_video

__all__ = ["VideoInfo", "probe", "read_clip", "read_frames", "read_frames_at", "write_png", "write_video"]
