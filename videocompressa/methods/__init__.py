"""Every method, one idea a file, and the table of their names."""

from videocompressa.methods.registry import METHODS, Method, find_method

__all__ = ["METHODS", "Method", "find_method"]
