"""Names of kernels as people can read them: C++ names of 500 characters say little in a table."""

from __future__ import annotations

import re

_ANONYMOUS = "(anonymous namespace)::"
# What says which operation a general kernel applies: CUDAFunctor_add, silu_kernel, launch_clamp_scalar, MeanOps.
_OPERATION = re.compile(r"\b(\w*[Ff]unctor\w*|\w+_kernel\w*|launch_\w+|\w+KernelImpl|\w+Ops)\b")
_GENERAL = {
    "BinaryFunctor", "AUnaryFunctor", "BUnaryFunctor", "gpu_kernel_impl", "gpu_kernel_impl_nocast",
    "opmath_gpu_kernel", "binary_internal",
}  # fmt: skip
_LENGTH = re.compile(r"([1-9]\d{0,2})")
_WRAPPERS = {"Kernel", "Kernel2", "device_kernel"}  # whose template argument is the kernel


def short_name(name: str) -> str:
    """Return the name of a kernel without types, namespaces and arguments; the operation that it applies stays.

    Example:
        >>> short_name("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >(int)")
        'vectorized_elementwise_kernel<CUDAFunctor_add>'
        >>> short_name("void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_64x64>(cutlass_80::Params)")
        'cutlass_80_tensorop_s1688gemm_64x64'
        >>> short_name("ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)")
        'ncclKernel_AllReduce_RING_LL_Sum_float'
        >>> short_name("Memcpy HtoD (Pinned -> Device)")
        'Memcpy HtoD (Pinned -> Device)'
    """
    if name.startswith(("Memcpy", "Memset")):
        return name
    if name.startswith("_ZN"):
        return _mangled(name)
    text = name.replace(_ANONYMOUS, "").removeprefix("void ")
    if text.startswith("std::enable_if<"):  # a return type of the template's
        text = text.partition(">::type ")[2] or text
    head, template = _parts(text)
    base = head.rpartition("::")[2]
    if base == "kernel":
        base = "::".join(head.split("::")[-2:])
    if base in _WRAPPERS and template:
        inner = re.match(r"[\w:]+", template)
        return inner[0].rpartition("::")[2] if inner else base
    found = [op for op in _OPERATION.findall(template) if op not in _GENERAL and op != base]
    return f"{base}<{found[0]}>" if found else base or name


def _parts(text: str) -> tuple[str, str]:
    """The name before its template arguments, and these."""
    ends = [at for at in (text.find("<"), text.find("(")) if at > 0]
    if not ends:
        return text, ""
    at = min(ends)
    if text[at] == "(":
        return text[:at], ""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "<") - (text[i] == ">" and text[i - 1] != "-")
        if depth == 0:
            return text[:at], text[at + 1 : i]
    return text[:at], text[at + 1 :]


def _mangled(name: str) -> str:
    """``_ZN3foo3barE…`` → ``foo::bar``; names that end otherwise keep what is read of them."""
    at, parts = 3, []
    while match := _LENGTH.match(name, at):
        at = match.end() + int(match[1])
        parts.append(name[match.end() : at])
    return "::".join(parts) or name
