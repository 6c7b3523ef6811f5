"""Every method, one idea a file, and the table of their names."""

from videocompressa.methods.config import MethodConfig
from videocompressa.methods.registry import METHODS, find_method

__all__ = ["METHODS", "MethodConfig", "find_method"]
