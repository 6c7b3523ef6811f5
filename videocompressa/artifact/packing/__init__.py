"""Packings: how a file stores latents other than as one number a cell ("dense")."""

from videocompressa.artifact.packing.registry import PACKINGS, Packing, find_packing, unpacked

__all__ = ["PACKINGS", "Packing", "find_packing", "unpacked"]
