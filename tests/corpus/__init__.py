"""Small programs with one bottleneck each, planted (``…_slow.py``), and the same written well (``…_good.py``).

The lines that a finding must name end in ``# planted``.
"""
