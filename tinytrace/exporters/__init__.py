"""A `Trace` written as a file that another program opens."""

from tinytrace.exporters.registry import export

__all__ = ["export"]
