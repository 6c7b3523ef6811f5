"""The file of a synthetic set: writing, reading and measuring it, and how latents lie in it."""

from videocompressa.artifact.container import Quantization
from videocompressa.artifact.file import measure, predict_file_bytes, read_set, to_bytes, write_set
from videocompressa.artifact.metadata import FORMAT, KEY, PROVENANCE_SCHEMA, SCHEMA
from videocompressa.artifact.packing.quantization import dequantize, label_codes, largest_label_error, quantize

__all__ = [
    "FORMAT",
    "KEY",
    "PROVENANCE_SCHEMA",
    "SCHEMA",
    "Quantization",
    "dequantize",
    "label_codes",
    "largest_label_error",
    "measure",
    "predict_file_bytes",
    "quantize",
    "read_set",
    "to_bytes",
    "write_set",
]
