"""Builds the compiled core where there is a compiler; everything works, slower, where there is none."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

NATIVE = "tinytrace/tracer/native"


def extensions() -> list[Extension]:
    """The compiled core, or nothing where it is not wanted or cannot be built."""
    if os.environ.get("TINYTRACE_CORE") == "python" or sys.implementation.name != "cpython":
        return []
    try:
        import numpy
    except ImportError:
        return []
    flags = os.environ.get("TINYTRACE_CFLAGS", "-O2").split()
    return [
        Extension(
            "tinytrace.tracer._native",
            sources=sorted(str(p) for p in Path(NATIVE).glob("*.c")),
            depends=sorted(str(p) for p in Path(NATIVE).glob("*.h")),
            include_dirs=[numpy.get_include()],
            extra_compile_args=["-std=c11", "-fvisibility=hidden", *flags],
            extra_link_args=os.environ.get("TINYTRACE_LDFLAGS", "").split(),
            optional=True,
        )
    ]


setup(ext_modules=extensions())
