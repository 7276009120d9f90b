"""axe-core, Deque's checks of accessibility, as npm has it, run on a page that is open in Chromium."""

from __future__ import annotations

import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.browser import Page

VERSION = "4.10.3"
RUN = """
const done = arguments[0];
axe.run().then((found) => done(found.violations.map(
  (one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`)));
"""


@cache
def _script() -> str:
    """Its script; fetched once per test run, by npm."""
    command = ["npm", "pack", "--silent", "--prefer-offline", f"axe-core@{VERSION}"]
    with TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (package,) = Path(folder).glob("*.tgz")
        with tarfile.open(package) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            return member.read().decode()


def violations(page: Page) -> list[str]:
    """What is wrong with the page for people who listen to it, or use it by the keyboard."""
    # Through the debugger: the page's own policy would not let the script in.
    page.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": _script()})
    found: list[Any] = page.driver.execute_async_script(RUN)
    return [str(one) for one in found]
