"""NumPy, and SciPy's ufuncs: the list of what is hooked. NumPy is never imported here, only met.

Four ways lead into NumPy: calls of ufuncs (operators go through them), of ``__array_function__``
dispatchers (``np.sum``, ``np.linalg.solve``…) and of Cython functions (``numpy.random``), C methods of
``ndarray`` and ``ufunc`` and builtins of ``multiarray``, and ndarray's indexing slots.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from tinytrace.tracer.hooks import HookBackend
from tinytrace.tracer.records import Policy

# Methods of ndarray that touch elements. Views (transpose, view, squeeze…) and metadata are left out.
ARRAY_METHODS: dict[str, int] = {
    **dict.fromkeys(
        ("all", "any", "argmax", "argmin", "cumprod", "cumsum", "max", "mean", "min", "prod", "ptp",
         "std", "sum", "trace", "var", "argsort", "argpartition"), Policy.ATTRIBUTES),
    **dict.fromkeys(("sort", "partition"), Policy.ATTRIBUTES | Policy.WRITES_SELF),
    **dict.fromkeys(("fill", "put"), Policy.WRITES_SELF),
    **dict.fromkeys(("reshape", "ravel", "astype"), Policy.COPIES_ONLY),
    **dict.fromkeys(
        ("choose", "clip", "compress", "conj", "conjugate", "copy", "__copy__", "__deepcopy__", "dot",
         "flatten", "nonzero", "repeat", "round", "searchsorted", "take", "tobytes", "tolist",
         "byteswap", "diagonal", "resize"), 0),
    "conj": Policy.COPIES_ONLY, "conjugate": Policy.COPIES_ONLY, "diagonal": Policy.COPIES_ONLY,
}  # fmt: skip

OF_ONE = Policy.ATTRIBUTES | Policy.FIRST_IS_OPERAND
UFUNC_METHODS: dict[str, int] = {
    "reduce": OF_ONE,
    "accumulate": OF_ONE,
    "reduceat": OF_ONE,
    "outer": Policy.ATTRIBUTES,
    "at": Policy.WRITES_FIRST_ARGUMENT,
}

# Builtins of numpy's multiarray that no dispatcher stands before.
BUILTINS: dict[str, int] = {
    **dict.fromkeys(("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"), Policy.COPIES_ONLY),
    **dict.fromkeys(("arange", "zeros", "fromiter", "count_nonzero", "interp", "interp_complex"), 0),
    "_place": Policy.WRITES_FIRST_ARGUMENT,
    "_vec_string": Policy.ATTRIBUTES,
    "c_einsum": Policy.ATTRIBUTES,
    "correlate": Policy.ATTRIBUTES,
    "correlate2": Policy.ATTRIBUTES,
}  # fmt: skip

# Dispatchers in front of C code that make or fill nothing, or whose cost is a handful of fields.
NOT_OPS = frozenset(
    [
        "can_cast",
        "result_type",
        "min_scalar_type",
        "may_share_memory",
        "shares_memory",
        "busdaycalendar",
        "is_busday",
        "busday_count",
        "busday_offset",
        "datetime_as_string",
        "empty_like",
        "ndim",
        "shape",
        "size",
    ]
)
WRITES_FIRST = frozenset({"copyto", "putmask", "place", "put", "put_along_axis", "fill_diagonal"})

# Python functions that work on elements where no hook is: through ``.flat``.
WORK_UNSEEN = frozenset({"fill_diagonal"})

# Draws that are made of other draws and of array operations, which are recorded as what runs inside. The
# others check their arguments by array operations; the work is their own.
COMPOSED_DRAWS = frozenset(
    {"choice", "permutation", "permuted", "shuffle", "multivariate_normal", "rand", "randn", "random",
     "ranf", "sample", "random_integers"}
)  # fmt: skip

# Methods of random generators that are not draws.
NOT_DRAWS = frozenset(
    {
        "seed",
        "get_state",
        "set_state",
        "spawn",
        "bit_generator",
        "get_bit_generator",
        "set_bit_generator",
    }
)


class NumpyAdapter:
    """Hooks NumPy when the program imports it.

    ``op`` gives an op's id for its name; what cannot be hooked in this NumPy is passed over and named
    in ``missing``.
    """

    module = "numpy"

    def __init__(self, backend: HookBackend, op: Callable[[str], int]) -> None:
        """Prepare; nothing is hooked before `install`."""
        self._backend = backend
        self._op = op
        self.missing: list[str] = []
        self._attached = False
        self._waiting: list[Callable[[], None]] = []  # parts that NumPy imports before it is whole

    def install(self, numpy: ModuleType) -> None:
        """Hook everything that is listed in this file."""
        # Each major version has a stub by the other's name.
        core = sys.modules["numpy.core" if numpy.__version__ < "2" else "numpy._core"]
        self._attach(numpy)
        self._attached = True
        for name, policy in UFUNC_METHODS.items():
            self._method(numpy.ufunc, name, name, policy)
        for name, policy in ARRAY_METHODS.items():
            # Of a method that was removed, NumPy keeps a property that raises: ptp, from 2.0 to 2.3.
            if callable(getattr(numpy.ndarray, name, None)):
                self._method(numpy.ndarray, name, name.strip("_"), policy)
        multiarray = (
            core.multiarray
            if hasattr(core, "multiarray")
            else sys.modules[f"{core.__name__}.multiarray"]
        )
        c_module = sys.modules.get(f"{core.__name__}._multiarray_umath", multiarray)
        for name, policy in BUILTINS.items():
            if isinstance(getattr(c_module, name, None), BuiltinFunctionType):
                self._method(c_module, name, name.strip("_"), policy)
        self._ufuncs(vars(numpy), numpy.ufunc)
        self._ufuncs(vars(c_module), numpy.ufunc)
        self._dispatchers(numpy, "", type(numpy.sum))
        self._backend.install_indexing(numpy.ndarray, self._op("getitem"), self._op("setitem"))
        self._backend.install_memory()
        while self._waiting:
            self._waiting.pop(0)()

    def _attach(self, numpy: ModuleType) -> None:
        """Take hold of NumPy's C interface, without leaving modules behind that the program did not import.

        NumPy's header looks for the core by its new name first, which imports a stub in NumPy 1.26.
        """
        modules, folders = set(sys.modules), set(sys.path_importer_cache)
        self._backend.attach(numpy.ufunc)
        stubs = {"numpy._core", "numpy._core._multiarray_umath"} & (set(sys.modules) - modules)
        for name in stubs:
            del sys.modules[name]
            vars(numpy).pop("_core", None)
        for folder in set(sys.path_importer_cache) - folders if stubs else ():
            del sys.path_importer_cache[folder]

    def install_part(self, module: ModuleType) -> None:
        """Hook ``numpy.linalg`` or ``numpy.fft``, which newer NumPys import when first used."""
        if not self._attached:
            self._waiting.append(lambda: self.install_part(module))
            return
        numpy = sys.modules["numpy"]
        self._dispatchers(module, f"{module.__name__.rpartition('.')[2]}.", type(numpy.sum))
        for sub in list(vars(module).values()):
            if isinstance(sub, ModuleType):
                self._ufuncs(vars(sub), numpy.ufunc)
                if isinstance(
                    getattr(sub, "execute", None), BuiltinFunctionType
                ):  # NumPy 1.26's FFT
                    self._method(sub, "execute", "execute", Policy.ATTRIBUTES)

    def install_random(self, random: ModuleType) -> None:
        """Hook the methods of ``numpy.random``'s generators."""
        if not self._attached:
            self._waiting.append(lambda: self.install_random(random))
            return
        for cls in (random.Generator, random.RandomState):
            for name, obj in list(vars(cls).items()):
                if name.startswith("_") or name in NOT_DRAWS or not callable(obj):
                    continue
                policy = Policy(0) if name in COMPOSED_DRAWS else Policy.OPAQUE
                if name == "shuffle":
                    policy = Policy.WRITES_FIRST_ARGUMENT
                self._draw(cls, name, obj, policy)

    def install_scipy_special(self, special: ModuleType) -> None:
        """Hook SciPy's ufuncs, after the program has imported ``scipy.special``."""
        numpy = sys.modules["numpy"]
        self._ufuncs(vars(special), numpy.ufunc)

    def _method(self, owner: Any, name: str, op: str, policy: int) -> None:
        try:
            self._backend.install_method(owner, name, self._op(op), int(policy))
        except (TypeError, AttributeError, OverflowError) as problem:
            self.missing.append(f"{op}: {problem}")

    def _call(self, obj: Any, op: str, n_in: int, policy: int) -> None:
        try:
            self._backend.install_call(obj, self._op(op), n_in, int(policy))
        except (TypeError, OverflowError) as problem:
            self.missing.append(f"{op}: {problem}")

    def _ufuncs(self, namespace: dict[str, Any], ufunc: Any) -> None:
        for obj in list(namespace.values()):
            if isinstance(obj, ufunc):
                name = obj.__name__
                policy = Policy.EXPONENT if name in {"power", "float_power"} else Policy(0)
                if obj.signature:  # axis and axes decide what a gufunc does
                    policy = Policy.ATTRIBUTES
                self._call(obj, name, obj.nin, policy)

    def _dispatchers(self, module: ModuleType, prefix: str, dispatcher: Any) -> None:
        for name, obj in list(vars(module).items()):
            if type(obj) is not dispatcher or name in NOT_OPS:
                continue
            implementation = getattr(obj, "_implementation", None)
            policy = Policy.ATTRIBUTES
            if isinstance(implementation, FunctionType) and name not in WORK_UNSEEN:
                policy = Policy.COPIES_ONLY  # Python: its work shows as the ops inside
            elif name in WRITES_FIRST:
                policy = Policy.WRITES_FIRST_ARGUMENT
            elif name in {"where", "concatenate", "searchsorted", "bincount"}:
                policy = Policy(0)
            self._call(obj, prefix + obj.__name__, -1, policy)

    def _draw(self, cls: type, name: str, obj: Any, policy: Policy) -> None:
        """Cython functions have a vectorcall, or, those that take ``*args``, a C method like builtins."""
        op = self._op(f"random.{name}")
        try:
            if type(obj).__name__ == "method_descriptor":
                raise TypeError
            self._backend.install_call(obj, op, -1, int(policy))
        except (TypeError, OverflowError):
            self._method(cls, name, f"random.{name}", policy)


def targets(adapter: NumpyAdapter) -> Iterator[tuple[str, Callable[[ModuleType], None]]]:
    """The modules to await, and what to call once the program has imported them."""
    yield "numpy", adapter.install
    yield "numpy.linalg", adapter.install_part
    yield "numpy.fft", adapter.install_part
    yield "numpy.random", adapter.install_random
    yield "scipy.special", adapter.install_scipy_special
