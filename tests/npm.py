"""Packages of npm, for tests in a browser: fetched once per test run."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


@functools.cache
def package_folder(name: str, version: str) -> Path:
    """The folder of a package, without those that it needs.

    Args:
        name: of the package.
        version: exact.
    """
    folder = Path(tempfile.mkdtemp(prefix="tinytrace-npm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = ["npm", "pack", "--silent", "--prefer-offline", f"{name}@{version}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(folder / f"{name}-{version}.tgz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"
