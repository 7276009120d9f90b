"""Keeping code of ours out of what ``torch.compile`` compiles: it looks at every Python frame below a compiled call."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


def keep_out(torch: ModuleType, modules: list[ModuleType]) -> None:
    """Have all code of these modules run as it is, inside of compiled calls too.

    Args:
        torch: as the program has imported it; its compiler is not imported.
        modules: of tinytrace.
    """
    frames: Any = torch._C._dynamo.eval_frame
    if hasattr(frames, "set_code_exec_strategy"):
        strategy = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.SKIP)
        for code in _codes(modules):
            frames.set_code_exec_strategy(code, strategy)
        return
    for code in _codes(modules):  # before torch 2.7
        frames.skip_code(code)


def _codes(modules: list[ModuleType]) -> Iterator[CodeType]:
    """Yield the code of all functions that modules define, in classes and in functions too."""
    for module in modules:
        for value in vars(module).values():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            for function in (value, *vars(value).values()) if isinstance(value, type) else (value,):
                inner = getattr(function, "fget", getattr(function, "__func__", function))
                if isinstance(inner, FunctionType):
                    yield from _nested(inner.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
