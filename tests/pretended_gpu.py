"""Tensors on the CPU that say they are on a GPU, and count what a GPU would be asked: launches, copies, waiting.

To mix them with tensors that do not say so, or are on another GPU, is an error, as on a GPU; so is a launch on another
GPU than that of the tensors, and float64 on Apple's. Kernels run in Triton's interpreter.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
KINDS = ("cuda", "mps", "xpu")
LAUNCHING = threading.Lock()
"""Triton's interpreter knows but one launch at a time."""
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


def pretending(x: Any, place: torch.device = CUDA) -> Any:
    """``x`` with tensors that say they are on the GPU."""
    if isinstance(x, Tensor):
        if x.dtype == torch.float64 and place.type == "mps":
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        with torch._C.DisableTorchFunctionSubclass():
            found = x if isinstance(x, Gpu) else x.as_subclass(Gpu)
        found.place = place
        return found
    if type(x).__module__ == "torch.return_types":
        return type(x)([pretending(v, place) for v in x])
    return type(x)(pretending(v, place) for v in x) if type(x) in (list, tuple) else x


def numbered(device: torch.device | str) -> torch.device:
    """The device, with its number."""
    device = torch.device(device)
    return torch.device(device.type, device.index or 0) if device.type in KINDS else device


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

    place: torch.device = CUDA

    counts: ClassVar[Counter[str]] = Counter()
    """launches, waits, copied (bytes to the host)."""
    operators: ClassVar[Counter[str]] = Counter()
    current: ClassVar[threading.local] = threading.local()
    """The device of launches."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", str(func)), dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if name == "__get__" and (owner := getattr(func.__self__, "__name__", "")) in ("device", "is_cuda"):
                return args[0].place if owner == "device" else args[0].place.type == "cuda"
            if name in ("numpy", "__array__"):
                raise TypeError(f"can't convert {args[0].place} device type tensor to numpy. Use Tensor.cpu()")
            if name in FACTS:
                return func(*plain(args), **plain(kwargs))
            place = cls._place_of((args, kwargs), name)
            if name in ASKED:
                cls.counts["waits"] += 1
                found = func(*plain(args), **plain(kwargs))
                return pretending(found, place) if name == "nonzero" else found
            if name in ("cpu", "to"):
                return cls._moved(name, args, kwargs)
            if name == "__get__":
                return pretending(func(*plain(args)), place)
            if "device" in kwargs:
                place, kwargs["device"] = numbered(kwargs["device"] or place), "cpu"
            with _Launches():  # type: ignore[no-untyped-call]  # PyTorch has no types there
                found = func(*plain(args), **plain(kwargs))
            return pretending(found, place) if place.type != "cpu" else found

    @classmethod
    def _place_of(cls, given: Any, name: str) -> torch.device:
        """Where tensors are, which must be one device; numbers may come from the host."""
        places = {t.place if isinstance(t, Gpu) else torch.device("cpu") for t in tensors(given) if t.ndim}
        if len(places) > 1 and name not in ("copy_", "type_as", "to"):
            raise RuntimeError(f"Expected all tensors to be on the same device, {places}: {name}")
        return next((t.place for t in tensors(given) if isinstance(t, Gpu)), torch.device("cpu"))

    @classmethod
    def _moved(cls, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        source, blocking = args[0], not kwargs.pop("non_blocking", False)
        target = "cpu" if name == "cpu" else [*args[1:], *kwargs.values()]
        here = goal = source.place if isinstance(source, Gpu) else torch.device("cpu")
        dtype = None
        for t in [target] if isinstance(target, str) else target:
            if isinstance(t, Tensor):
                goal, dtype = (t.place if isinstance(t, Gpu) else torch.device("cpu")), t.dtype
            elif isinstance(t, torch.dtype):
                dtype = t
            elif isinstance(t, (str, torch.device)):
                goal = numbered(t)
        result, on_gpu = plain(source), here.type != "cpu"
        if dtype is not None and dtype != result.dtype:
            cls.counts["launches"] += on_gpu
            if goal.type == "mps" and here == goal:
                pretending(result.new_empty(0, dtype=dtype), goal)  # is refused before it is moved
            result = result.to(dtype)
        if here != goal:
            cls.counts["waits"] += blocking
            cls.counts["launches"] += 1
            cls.counts["copied"] += on_gpu * result.numel() * result.element_size()
            result = result.clone()
        return pretending(result, goal) if goal.type != "cpu" else result


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if any(isinstance(t, Gpu) for t in tensors((args, kwargs))) or (name == "to" and isinstance(args[0], Tensor)):
            return Gpu.__torch_function__(func, types, args, kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type in KINDS:
            return pretending(func(*args, **kwargs | {"device": "cpu"}), numbered(kwargs["device"]))
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
            places = {t.place for t in tensors((args, kwargs)) if isinstance(t, Gpu)}
            current = getattr(Gpu.current, "device", CUDA)
            if places - {current}:
                raise RuntimeError(f"a launch on {current} of tensors on {places}")
            Gpu.counts["launches"] += 1
            Gpu.operators["triton " + self.kernel.__name__] += 1
            with LAUNCHING, torch._C.DisableTorchFunction():
                self.kernel[grid](*plain(args), **plain(kwargs))

        return run


@contextlib.contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """For :class:`torch.cuda.device`."""
    before, Gpu.current.device = getattr(Gpu.current, "device", CUDA), numbered(device)
    try:
        yield
    finally:
        Gpu.current.device = before


def _to(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """For :meth:`torch.nn.Module.to`: a Parameter cannot pretend."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            del part._parameters[name]
            part.__dict__[name] = value.detach()  # type: ignore[union-attr]  # a parameter is there
        moved = {name: value.to(device) for name, value in part.__dict__.items() if isinstance(value, Tensor)}
        part.__dict__.update(moved)
    return module


def _enter() -> None:
    """For a thread: modes are its own."""
    _Mode().__enter__()  # type: ignore[no-untyped-call]  # PyTorch has no types there


@contextlib.contextmanager
def pretended_device() -> Iterator[Counter[str]]:
    """Within, "cuda", "mps" and "xpu" are devices whose tensors pretend; what they are asked is counted. Kernels are
    left out."""
    decode, attention = (
        importlib.import_module(f"ttc_fast.decoding.{name}") for name in ("decode", "attention_decode")
    )

    def there(implementation: Any, *given: Any) -> Tensor:
        place = next((t.place for t in tensors(given) if isinstance(t, Gpu)), torch.device("cpu"))
        thoughts: Tensor = implementation(*given)
        return pretending(thoughts, place) if place.type != "cpu" else thoughts

    operators: Any = torch.ops.ttc_fast
    Gpu.counts.clear()
    Gpu.operators.clear()
    with pytest.MonkeyPatch.context() as patch, _Mode():
        for name, implementation in (("decode", decode._decode), ("decode_attention", attention._decode)):
            patch.setattr(operators, name, functools.partial(there, implementation))
        patch.setattr(torch.nn.Module, "to", _to)
        leading = functools.partial(ThreadPoolExecutor, initializer=_enter)
        patch.setattr("ttc_fast.evaluation.devices.ThreadPoolExecutor", leading)
        yield Gpu.counts


@contextlib.contextmanager
def pretended_gpu(count: int = 1) -> Iterator[Counter[str]]:
    """The same with CUDA's kernels, in Triton's interpreter, on so many GPUs."""
    backends: Any = importlib.import_module("ttc_fast.decoding.backends")
    from ttc_fast.kernels import aggregate, decode

    tile_here, cuda = decode.tile_here, torch.cuda
    with pytest.MonkeyPatch.context() as patch, pretended_device() as counts:
        for module in (aggregate, decode):
            for name in [name for name in vars(module) if name.endswith("_kernel")]:
                patch.setattr(module, name, _Interpreted(getattr(module, name)))
        patch.setattr(cuda, "Event", _Event)
        patch.setattr(cuda, "current_stream", lambda device=None: None)
        patch.setattr(cuda, "is_available", lambda: True)
        patch.setattr(cuda, "device_count", lambda: count)
        patch.setattr(cuda, "get_device_capability", lambda device=None: (9, 0))
        patch.setattr(cuda, "device", _on)
        patch.setattr(backends, "interpreted", lambda: False)
        patch.setattr(decode, "tile_here", lambda dim, _, *rest: tile_here(dim, torch.device("cpu"), *rest))
        yield counts
