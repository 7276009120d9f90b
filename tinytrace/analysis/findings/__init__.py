"""What is slow, why, how much can be won, and what to write instead: one rule per file (docs/findings.md)."""

from tinytrace.analysis.findings.finding import Confidence, Finding
from tinytrace.analysis.findings.registry import MIN_SHARE, RULES, findings

__all__ = ["MIN_SHARE", "RULES", "Confidence", "Finding", "findings"]
