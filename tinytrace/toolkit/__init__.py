"""What is measured from inside a program: blocks, functions, models, and two of them against each other.

A part of the package's face: it may use every layer, and no layer uses it. docs/measuring.md is its manual.
"""
