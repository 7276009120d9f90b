"""Begins the recording in a new interpreter, then makes way for the real ``sitecustomize``.

Nothing of this file stays: the folder leaves ``sys.path``, and the user's own ``sitecustomize`` is
imported, or found missing, as if this one had never been there.
"""

import os
import sys


def _begin() -> None:
    """Call `tinytrace.tracer.launcher.begin` of the copy of tinytrace that this file belongs to."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is not loaded in every interpreter
    root = os.path.dirname(os.path.dirname(os.path.dirname(folder)))  # noqa: PTH120
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    if "TINYTRACE_START" in os.environ:
        sys.path.insert(0, root)
        try:
            from tinytrace.tracer import launcher

            launcher.begin()
        except Exception:  # nothing of ours may break an interpreter
            pass
        finally:
            sys.path.remove(root)


if __name__ == "sitecustomize":
    _begin()
    del sys.modules[__name__]
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
