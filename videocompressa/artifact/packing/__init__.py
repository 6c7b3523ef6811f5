"""Packings: how the latents of a set lie in its file, beside one number a cell ("dense")."""

from videocompressa.artifact.packing.registry import PACKINGS, Packing, find_packing, unpacked

__all__ = ["PACKINGS", "Packing", "find_packing", "unpacked"]
