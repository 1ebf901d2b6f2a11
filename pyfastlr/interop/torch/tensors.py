"""Checks of torch's tensors before compiled code sees their addresses, with the errors for invalid ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

#: Dtypes of parameters, each with that of their state.
DTYPES = {torch.float32: torch.float32, torch.float64: torch.float64}
HALVES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
DTYPES |= dict.fromkeys(HALVES, torch.float32)
_NEED = "a float32, float64, bfloat16 or float16 tensor in host memory"


def described(x: Any) -> str:
    """Describe a tensor in an error: ``bfloat16[3, 4] on cuda:0``."""
    if not isinstance(x, torch.Tensor):
        return type(x).__name__
    layout = "" if x.layout == torch.strided else f"{str(x.layout).removeprefix('torch.')} "
    return f"{layout}{str(x.dtype).removeprefix('torch.')}{list(x.shape)} on {x.device}"


def names_of(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Names of all parameters in errors: their own, if the optimizer was given names, or their places."""
    return [
        group["param_names"][k] if len(group.get("param_names", ())) > k else f"param_groups[{row}]['params'][{k}]"
        for row, group in enumerate(groups)
        for k in range(len(group["params"]))
    ]


def is_wrapper(x: Any) -> bool:
    """Whether a tensor has no memory of its own but wraps others."""
    return hasattr(type(x), "__tensor_flatten__")


def check_parameter(p: Any, name: str) -> None:
    """Refuse a parameter that a step cannot update."""
    if is_wrapper(p):
        raise TypeError(f"`{name}` must be {_NEED}, got a {type(p).__name__}, which wraps other tensors")
    if p.layout != torch.strided or p.device.type != "cpu" or p.dtype not in DTYPES:
        raise TypeError(f"`{name}` must be {_NEED}, got {described(p)}")
    if p.is_neg():
        raise TypeError(f"`{name}` must be {_NEED}, got a view of another tensor's negative: pass p.resolve_neg()")


def check_gradient(g: Any, p: Any, name: str) -> None:
    """Refuse a gradient that a step cannot read."""
    if is_wrapper(g) or g.layout != torch.strided or g.device != p.device or g.dtype != p.dtype or g.shape != p.shape:
        raise TypeError(f"the gradient of `{name}` must be {described(p)}, got {described(g)}")


def check_state(x: Any, p: Any, name: str) -> None:
    """Refuse a state tensor that is not like its parameter. That of a parameter of 16 bits may be float32 too."""
    need = f"a tensor like its parameter, {described(p)}"
    if p.dtype in HALVES:
        need += ", in float32 or that dtype"
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"`{name}` must be {need}, got {described(x)}")
    fits = x.dtype in (p.dtype, DTYPES[p.dtype])
    if is_wrapper(x) or x.layout != torch.strided or x.device != p.device or not fits or x.shape != p.shape:
        raise ValueError(f"`{name}` must be {need}, got {described(x)}")


def is_dense(x: Any) -> bool:
    """Whether a tensor's elements fill its memory without gaps or overlaps, in any order of the dimensions."""
    if x.is_contiguous():
        return True
    expected = 1
    for stride, length in sorted(zip(x.stride(), x.shape, strict=True)):
        if length != 1:
            if stride != expected:
                return False
            expected *= length
    return True


def same_order(x: Any, y: Any) -> bool:
    """Whether two dense tensors of one shape have their elements in the same order in memory."""
    if x.is_contiguous() and y.is_contiguous():
        return True
    lengths = x.shape
    return all(a == b for a, b, n in zip(x.stride(), y.stride(), lengths, strict=True) if n != 1)


def is_aligned(x: Any) -> bool:
    """Whether a tensor's address is a multiple of its element's size."""
    return bool(x.data_ptr() % x.element_size() == 0)


def as_usable(x: Any, like: Any) -> Any:
    """Return a tensor whose memory has the order of `like`: itself, or a copy. `like` is dense."""
    if is_dense(x) and same_order(x, like) and is_aligned(x) and not x.is_neg():
        return x
    return torch.empty_like(like).copy_(x.detach())


def scalar_dtype() -> Any:
    """Dtype of counts and of other numbers in the state, as torch chooses it."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def overlaps(starts: Any, ends: Any, first: Any, last: Any) -> Any:
    """Indices of the address ranges [first, last) that overlap one of the sorted, disjoint ranges [starts, ends)."""
    if not len(starts):
        return np.zeros(0, np.int64)
    before = np.searchsorted(starts, last) - 1
    return np.flatnonzero((before >= 0) & (ends[before] > first) & (last > first))
