"""The file of a synthetic set: writing, reading and measuring it, what fits into it, and how latents are stored."""

from videocompressa.artifact.set_file import copy_set, measure, read_set, set_bytes, to_bytes, write_set

__all__ = ["copy_set", "measure", "read_set", "set_bytes", "to_bytes", "write_set"]
