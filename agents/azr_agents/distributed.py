"""Sums over ranks. Decides nothing: whoever needs a sum over all ranks takes a `Reduce` as an argument.

The advantages sum (count, sum, sum of squares) per group, the loss counts its terms: both through the same function,
so one process, DDP and FSDP differ in this argument only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]  # same shape in and out; every rank calls it equally often


def alone(values: Tensor) -> Tensor:
    """The sum over one rank: the values themselves."""
    return values


def sum_over_ranks(values: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The sum of every rank's values, on every rank; the values themselves where nothing is distributed.

    Args:
        values: any shape, the same on every rank; left unchanged.
        group: the ranks to sum over; None is all of them.

    Returns:
        A tensor of the same shape, type and device.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return values
    # NCCL sums on GPUs only, and statistics are usually made on the CPU.
    where = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else values.device
    total = values.detach().to(where, copy=True)
    dist.all_reduce(total, group=group)
    return total.to(values.device)
