"""The file of a synthetic set: writing, reading and measuring it, what fits into it, and how latents are stored."""

from videocompressa.artifact.set_file import measure, read_set, to_bytes, write_set

__all__ = ["measure", "read_set", "to_bytes", "write_set"]
