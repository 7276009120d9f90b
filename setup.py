"""The two things that pyproject.toml cannot say: the compiled core, and the child processes' hook.

The compiled core is built where there is a compiler; everything works, slower, where there is none.
``tinytrace-child.pth`` lies in site-packages itself, where Python reads it at start, and not in the
package: that is how processes started by a recorded program are recorded too.
"""

import os
import sys
from pathlib import Path

from setuptools import Command, Extension, setup
from setuptools.command.build import build

NATIVE = "tinytrace/tracer/native"
# Loops over two or three dimensions gain nothing from vectors, and what runs per op nothing from
# being laid across cache lines: together a fifth of the time that recording a small op takes.
FLAGS = "-O2 -fno-tree-vectorize -falign-functions=64"
CHILD_PTH = "tinytrace/tracer/child.pth"
INSTALLED_CHILD_PTH = "tinytrace-child.pth"


class BuildChildPth(Command):
    """Puts `CHILD_PTH` at the top of the wheel, of an editable one too."""

    description = "put the .pth file for child processes beside the package"
    user_options = []  # noqa: RUF012 - setuptools' own declaration
    editable_mode = False  # set by setuptools

    def initialize_options(self) -> None:
        self.build_lib = ""

    def finalize_options(self) -> None:
        self.build_lib = self.get_finalized_command("build_py").build_lib

    def run(self) -> None:
        # An editable wheel is not made from build_lib; what must be in it goes where its files are
        # collected, which is where `install` would install.
        folder = (
            self.get_finalized_command("install").install_lib
            if self.editable_mode
            else self.build_lib
        )
        self.mkpath(folder)
        self.copy_file(CHILD_PTH, str(Path(folder, INSTALLED_CHILD_PTH)))

    def get_source_files(self) -> list[str]:
        return [CHILD_PTH]

    def get_outputs(self) -> list[str]:
        return [] if self.editable_mode else [str(Path(self.build_lib, INSTALLED_CHILD_PTH))]

    def get_output_mapping(self) -> dict[str, str]:
        return dict.fromkeys(self.get_outputs(), CHILD_PTH)


class Build(build):
    """The usual build, and the hook for child processes."""

    sub_commands = [*build.sub_commands, ("build_child_pth", None)]  # noqa: RUF012


def extensions() -> list[Extension]:
    """The compiled core, or nothing where it is not wanted or cannot be built."""
    if os.environ.get("TINYTRACE_CORE") == "python" or sys.implementation.name != "cpython":
        return []
    try:
        import numpy
    except ImportError:
        return []
    flags = os.environ.get("TINYTRACE_CFLAGS", FLAGS).split()
    return [
        Extension(
            "tinytrace.tracer._native",
            sources=sorted(str(p) for p in Path(NATIVE).glob("*.c")),
            depends=sorted(str(p) for p in Path(NATIVE).glob("*.h")),
            include_dirs=[numpy.get_include()],
            extra_compile_args=[
                "-std=c11",
                "-fvisibility=hidden",
                # A function that the headers lack would otherwise be missed only when it is called.
                "-Werror=implicit-function-declaration",
                *flags,
            ],
            extra_link_args=os.environ.get("TINYTRACE_LDFLAGS", "").split(),
            optional=True,
        )
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build": Build, "build_child_pth": BuildChildPth},
)
