"""Classes that are split over processes, each of which holds some rows of the weight of a linear layer.

Every process makes its part of the logits. For each chunk of rows one collective operation gathers a few numbers per row,
from which all compute the same losses; each turns its own logits into their gradient, and in the end what has reached the
hidden states is added up once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from multiloss._errors import ArgumentError, NotSupportedError
from torch import Tensor

from multiloss_torch._operations import Shard
from multiloss_torch._rows import wide
from multiloss_torch._watching import is_plain, wants_gradient


class Split(NamedTuple):
    """One process's part of a linear layer."""

    weight: Tensor
    bias: Tensor | None
    shard: Shard
    most: int
    """The most classes that a process has."""


def is_split(weight: Tensor) -> bool:
    """Whether `weight` is torch's tensor of many processes."""
    return type(weight).__name__ == "DTensor"


def split(weight: Tensor, bias: Tensor | None, group: Any) -> Split:
    """Return the parts of this process of weight and bias.

    Raises:
        ArgumentError: for tensors that are split in another way than the weight by its rows.
        NotSupportedError: for what would need gradients across processes, or inside compilers and torch.func.
    """
    if is_split(weight):
        group, start, most, classes, weight, bias = _from_distributed(weight, bias, group)
    else:
        _check_group(group)
        sizes = _gather(torch.tensor([len(weight)], device=weight.device), group).flatten().tolist()
        start, most, classes = sum(sizes[: dist.get_rank(group)]), max(sizes), sum(sizes)
    _require_plain(weight, bias)

    def add_up(x: Tensor) -> Tensor:
        total = x.to(wide(x.dtype)).clone()
        dist.all_reduce(total, group=group)
        return total.to(x.dtype)

    shard = Shard(start, classes, dist.get_rank(group), lambda x: _gather(x, group), add_up)
    return Split(weight, bias, shard, most)


def _require_plain(*tensors: Tensor | None) -> None:
    if not is_plain(*tensors):
        raise NotSupportedError(
            "Classes that are split over processes are known to eager calls and autograd alone, and this one is inside of "
            "torch.compile, torch.func, forward-mode differentiation or a subclass of tensors. Expected none of them."
        )


def refuse_gradients(*tensors: Tensor | None) -> None:
    """Raise for labels and weights of classes whose gradient is wanted."""
    if any(map(wants_gradient, tensors)):
        raise NotSupportedError(
            "Soft labels and class weights get no gradient where classes are split over processes. Detach them."
        )


def _gather(x: Tensor, group: Any) -> Tensor:
    size = dist.get_world_size(group)
    out = x.new_empty((size * len(x), *x.shape[1:]))
    dist.all_gather_into_tensor(out, x, group=group)
    return out.reshape(size, *x.shape)


def _check_group(group: Any) -> None:
    if not isinstance(group, dist.ProcessGroup) or dist.get_rank(group) < 0:
        raise ArgumentError(
            f"The classes cannot be split over {group!r}. Expected a torch.distributed.ProcessGroup that this process belongs to."
        )


def _from_distributed(weight: Any, bias: Any, group: Any) -> tuple[Any, int, int, int, Tensor, Tensor | None]:
    """Return what a DTensor says of itself: its group, where this part starts, the largest one, all rows, and the parts."""
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor import Shard as Rows

    if group is not None:
        raise ArgumentError("A DTensor knows its processes: expected group=None beside it.")
    mesh, placements = weight.device_mesh, tuple(weight.placements)
    # By its type, too: some versions of torch call a strided split equal to a plain one.
    split_by_rows = [axis for axis, each in enumerate(placements) if type(each) is Rows and each.dim == 0]
    whole = all(each == Replicate() for axis, each in enumerate(placements) if axis not in split_by_rows[:1])
    if len(split_by_rows) != 1 or not whole:
        raise ArgumentError(
            f"weight is a DTensor with placements {placements}. Expected Shard(0) once and Replicate() otherwise: "
            "redistribute it."
        )
    if bias is not None and not (is_split(bias) and tuple(bias.placements) == placements and bias.device_mesh == mesh):
        raise ArgumentError(f"bias is split otherwise than weight. Expected a DTensor with placements {placements}.")
    axis = split_by_rows[0]
    size, classes = mesh.size(axis), weight.shape[0]
    most = -(-classes // size)
    start = min(classes, mesh.get_local_rank(axis) * most)
    part = None if bias is None else bias.to_local()
    return mesh.get_group(axis), start, most, classes, weight.to_local(), part


def whole(x: Tensor) -> Tensor:
    """Return a tensor that is the same in all processes as an ordinary one.

    Raises:
        ArgumentError: for one that is split.
        NotSupportedError: as `split` does.
    """
    if not is_split(x):
        _require_plain(x)
        return x
    from torch.distributed.tensor import Replicate

    split: Any = x
    if any(each != Replicate() for each in split.placements):
        raise ArgumentError(
            f"A DTensor with placements {tuple(split.placements)} stands beside a split weight. Expected Replicate(): "
            "redistribute it."
        )
    local: Tensor = split.to_local()
    _require_plain(local)
    return local


def beside(like: object, x: Tensor) -> Tensor:
    """Return `x` as a tensor of all processes that `like` is of, if it is one of several: torch mixes those with no others."""
    if type(like).__name__ != "DTensor":
        return x
    from torch.distributed.tensor import DTensor, Replicate

    many: Any = like
    mesh = many.device_mesh
    found: Tensor = DTensor.from_local(x, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return found


def whole_along(x: Tensor, axis: int) -> Tensor:
    """Return `x` with all of an axis in each process, which torch needs to pick from it."""
    if not is_split(x):
        return x
    from torch.distributed.tensor import Replicate

    split: Any = x
    placements = [Replicate() if each.is_shard(axis % x.ndim) else each for each in split.placements]
    found: Tensor = split.redistribute(placements=placements)
    return found
