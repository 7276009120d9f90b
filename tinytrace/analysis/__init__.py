"""Answers computed from a `Trace`, and traces read back from files."""
