"""The file of a synthetic set: writing, reading and measuring it, what fits into it, and how latents are stored."""

from videocompressa.artifact.container import Quantization
from videocompressa.artifact.metadata import FORMAT, KEY, PROVENANCE_SCHEMA, SCHEMA
from videocompressa.artifact.read import measure, read_set
from videocompressa.artifact.write import to_bytes, write_set

__all__ = [
    "FORMAT",
    "KEY",
    "PROVENANCE_SCHEMA",
    "SCHEMA",
    "Quantization",
    "measure",
    "read_set",
    "to_bytes",
    "write_set",
]
