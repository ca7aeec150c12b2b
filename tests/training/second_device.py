"""A second device on a machine that has one alone: tensors that say that they are elsewhere, and compute on the processor.

Inside `second_device()` whatever is moved to or made on it is a `Remote`. As on a GPU, an operation that meets tensors of
both places raises, unless it copies between them or takes a single number: a forgotten `.to(device)` fails. `meta` would not do
for this, because torch drops the numbers of what is made there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend


class Backend:
    """What torch asks of a device's module."""

    is_initialized = is_available = staticmethod(lambda: True)
    current_device, device_count = staticmethod(lambda: 0), staticmethod(lambda: 1)
    _is_in_bad_fork, manual_seed_all = staticmethod(lambda: False), staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])


@cache
def device() -> torch.device:
    """The device, registered at its first use. Autograd counts its devices when a process first trains, and has threads from
    then on: register before that, in a process of its own that nothing forks."""
    _setup_privateuseone_for_python_backend("second", Backend)
    return torch.device("second:0")


aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)


class Remote(Tensor):
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Remote:
        layout: dict[str, Any] = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        layout |= {"dtype": inner.dtype, "device": device()}
        return Tensor._make_wrapper_subclass(cls, inner.shape, **layout)  # type: ignore[attr-defined,no-any-return]

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Remote({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class FromNumbers(TorchFunctionMode):
    """What is made of plain numbers, or read as such, goes as a tensor: torch's own way is out of a dispatch mode's sight."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and "device" in kwargs:
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(kwargs["device"])
        if func is Tensor.tolist and isinstance(args[0], Remote):
            return args[0].inner.tolist()
        if func is Tensor.new_tensor:
            return torch.tensor(args[1], dtype=args[0].dtype).to(args[0].device)
        return func(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[torch.device]:
    place = device()
    with Elsewhere(), FromNumbers():
        yield place


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    remote = [tensor for tensor in tensors if isinstance(tensor, Remote)]
    local = [tensor for tensor in tensors if not isinstance(tensor, Remote) and tensor.ndim]
    target = kwargs.get("device")
    if func not in COPIES and remote and local:
        raise RuntimeError(f"{func} meets {[*remote[0].shape]} on {device()} and {[*local[0].shape]} on the processor")
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
        stays = torch.device(target).type == device().type
    else:
        stays = isinstance(args[0], Remote) if func in COPIES else bool(remote)
    owners = {id(tensor.inner): tensor for tensor in remote}
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, Remote) else x, (args, kwargs))
    result = func(*args, **kwargs)
    if not stays:
        return result
    return tree_map(lambda x: _there(x, owners) if isinstance(x, Tensor) else x, result)


def _there(tensor: Tensor, owners: dict[int, Remote]) -> Remote:
    """What an operation in place gave is the tensor that it was asked to change."""
    return owners[id(tensor)] if id(tensor) in owners else Remote(tensor)
