"""Tensors on the CPU that say they are on a GPU, and count what a GPU would be asked: launches, copies, waiting.

To mix them with tensors that do not say so is an error, as on a GPU. Kernels run in Triton's interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
VIEWS = frozenset(
    [
        "view", "expand", "unsqueeze", "slice", "select", "permute", "transpose", "t", "alias", "detach", "squeeze",
        "as_strided", "unbind", "split", "split_with_sizes", "_unsafe_view", "unfold", "diagonal", "lift_fresh",
        "_reshape_alias", "empty", "empty_like", "new_empty", "empty_strided", "resolve_conj", "resolve_neg",
        "is_same_size", "set_", "narrow", "unflatten", "chunk", "_to_cpu",
    ]
)  # fmt: skip
"""Operators that launch nothing."""
ASKED = frozenset(("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "equal", "nonzero"))
"""Calls that wait for the GPU: the host must know a value."""
FACTS = frozenset(
    [
        "stride", "size", "dim", "numel", "element_size", "is_contiguous", "data_ptr", "storage_offset",
        "is_floating_point", "is_complex", "__len__",
    ]
)  # fmt: skip


def plain(x: Any) -> Any:
    """``x`` with ordinary tensors."""
    if isinstance(x, Gpu):
        return x.as_subclass(Tensor)
    if type(x) in (list, tuple):
        return type(x)(map(plain, x))
    return {k: plain(v) for k, v in x.items()} if type(x) is dict else x


def pretending(x: Any) -> Any:
    """``x`` with tensors that say they are on the GPU."""
    if isinstance(x, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return x if isinstance(x, Gpu) else x.as_subclass(Gpu)
    if type(x).__module__ == "torch.return_types":
        return type(x)([pretending(v) for v in x])
    return type(x)(map(pretending, x)) if type(x) in (list, tuple) else x


def tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from tensors(v)
    elif isinstance(x, dict):
        yield from tensors(list(x.values()))


class _Launches(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        if name not in VIEWS and not (name in ("reshape", "flatten") and found.data_ptr() == args[0].data_ptr()):
            Gpu.counts["launches"] += 1
            Gpu.operators[name] += 1
        return found


class Gpu(Tensor):
    """A tensor that says it is on a GPU."""

    counts: ClassVar[Counter[str]] = Counter()
    """launches, waits, copied (bytes to the host)."""
    operators: ClassVar[Counter[str]] = Counter()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", str(func)), dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if name == "__get__" and (owner := getattr(func.__self__, "__name__", "")) in ("device", "is_cuda"):
                return CUDA if owner == "device" else True
            if name in ("numpy", "__array__"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
            if name in FACTS:
                return func(*plain(args), **plain(kwargs))
            if name in ASKED:
                cls.counts["waits"] += 1
                found = func(*plain(args), **plain(kwargs))
                return pretending(found) if name == "nonzero" else found
            if name in ("cpu", "to"):
                return cls._moved(name, args, kwargs)
            if name == "__get__":
                return pretending(func(*plain(args)))
            mixed = [t for t in tensors((args, kwargs)) if not isinstance(t, Gpu) and t.ndim]
            if mixed and name not in ("copy_", "type_as"):
                raise RuntimeError(f"Expected all tensors to be on the same device, cuda:0 and cpu: {name}")
            if "device" in kwargs:
                kwargs["device"] = "cpu"
            with _Launches():  # type: ignore[no-untyped-call]
                return pretending(func(*plain(args), **plain(kwargs)))

    @classmethod
    def _moved(cls, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        source, blocking = args[0], not kwargs.pop("non_blocking", False)
        target = "cpu" if name == "cpu" else [*args[1:], *kwargs.values()]
        device, dtype = None, None
        for t in [target] if isinstance(target, str) else target:
            if isinstance(t, Tensor):
                device, dtype = (CUDA if isinstance(t, Gpu) else torch.device("cpu")), t.dtype
            elif isinstance(t, torch.dtype):
                dtype = t
            elif isinstance(t, (str, torch.device)):
                device = torch.device(t)
        here = isinstance(source, Gpu)
        goal = here if device is None else device.type == "cuda"
        result = plain(source)
        if dtype is not None and dtype != result.dtype:
            cls.counts["launches"] += here
            result = result.to(dtype)
        if here != goal:
            cls.counts["waits"] += blocking
            cls.counts["launches"] += 1
            cls.counts["copied"] += here * result.numel() * result.element_size()
            result = result.clone()
        return pretending(result) if goal else result


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if any(isinstance(t, Gpu) for t in tensors((args, kwargs))) or (name == "to" and isinstance(args[0], Tensor)):
            return Gpu.__torch_function__(func, types, args, kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            return pretending(func(*args, **kwargs | {"device": "cpu"}))
        return func(*args, **kwargs)


class _Event:
    def __init__(self, **_: Any) -> None:
        self.synchronize = lambda: None

    def record(self, stream: Any = None) -> None:
        """Nothing happens."""

    def elapsed_time(self, other: Any) -> float:
        return 1.0


class _Interpreted:
    """A kernel that is launched on pretending tensors."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.arg_names = kernel, kernel.arg_names

    def __getitem__(self, grid: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> None:
            Gpu.counts["launches"] += 1
            Gpu.operators["triton " + self.kernel.__name__] += 1
            with torch._C.DisableTorchFunction():
                self.kernel[grid](*plain(args), **plain(kwargs))

        return run


@contextlib.contextmanager
def pretended_gpu() -> Iterator[Counter[str]]:
    """Within, "cuda" is a device whose tensors pretend; what they are asked is counted."""
    backends: Any = importlib.import_module("ttc_fast.decoding.backends")
    from ttc_fast.kernels import aggregate, decode

    from ttc_fast.decoding.decode import _decode

    kernels = [(m, n) for m in (aggregate, decode) for n in vars(m) if n.endswith("_kernel")]
    kept = [(m, n, getattr(m, n)) for m, n in kernels]
    names = ("Event", "current_stream", "is_available", "device", "get_device_capability")
    kept += [(torch.cuda, n, getattr(torch.cuda, n)) for n in names]
    kept += [(torch.ops.ttc_fast, "decode", torch.ops.ttc_fast.decode)]
    kept += [(backends, "interpreted", backends.interpreted), (decode, "_tile_here", decode._tile_here)]
    for module, name in kernels:
        setattr(module, name, _Interpreted(getattr(module, name)))
    cuda: Any = torch.cuda
    cuda.Event, cuda.current_stream, cuda.is_available = _Event, lambda device=None: None, lambda: True
    cuda.device = lambda device: contextlib.nullcontext()
    cuda.get_device_capability = lambda device=None: (9, 0)
    tile_here = decode._tile_here
    backends.interpreted = lambda: False
    operators: Any = torch.ops.ttc_fast
    operators.decode = lambda *args: pretending(_decode(*args))
    decode._tile_here = lambda dim, device, *rest: tile_here(dim, torch.device("cpu"), *rest)
    Gpu.counts.clear()
    Gpu.operators.clear()
    try:
        with _Mode():
            yield Gpu.counts
    finally:
        for module, name, old in kept:
            setattr(module, name, old)
