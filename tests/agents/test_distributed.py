"""One rank against two: the same advantages, loss and gradient, whoever holds which sequences."""

from __future__ import annotations

from pathlib import Path

import torch
from agents.ranks import two_ranks
from torch import Tensor

from azr_agents.advantages import Groups
from azr_agents.distributed import Reduce, alone, sum_over_ranks
from azr_agents.loss import count_terms
from azr_agents.presets import PRESETS, estimate, objective

torch.set_num_threads(1)

ONE, FIRST, SECOND = slice(0, 11), slice(0, 8), slice(8, 11)  # ragged: eight sequences and three


def train(rows: slice, world: int, reduce: Reduce) -> dict[str, Tensor]:
    """Advantages and gradient of every preset on some rows of one fixed batch, in two micro-batches."""
    g = torch.Generator().manual_seed(3)
    reward = torch.randint(-2, 3, (11,), generator=g) / 2
    mask = torch.arange(6)[None] < torch.randint(1, 7, (11, 1), generator=g)
    mask[5] = False  # an answer without tokens
    roles = Groups(torch.tensor([0, 1, 0, 1, 2, 2, 0, 0, 1, 1, 1])[rows], 4)  # role 3 nowhere, 0 and 2 on one rank only
    prompt = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])[rows]
    prompts = Groups(prompt - prompt.min(), 3)  # each rank numbers its own, so both have a number 0
    lp, ref, entropy = (-torch.rand(11, 6, generator=g, dtype=torch.float64) for _ in range(3))
    reward, mask, lp, ref, entropy = reward[rows], mask[rows], lp[rows].requires_grad_(), ref[rows], entropy[rows]
    found: dict[str, Tensor] = {}
    for name, row in PRESETS.items():
        advantages, state = estimate(row, reward, mask, roles, prompts, lp, ref, reduce=reduce)
        terms = count_terms(mask, row.aggregation, max_tokens=8, reduce=reduce)
        old = lp.detach() + 0.1
        shares = [
            objective(row, lp[m], entropy[m], old[m], advantages[m], mask[m], terms, world, ref[m])[0]
            for m in (slice(0, 2), slice(2, None))
        ]
        loss = torch.stack(shares).sum()
        found[f"{name} advantages"] = advantages
        found[f"{name} gradient"] = torch.autograd.grad(loss, lp)[0] / world  # DDP and FSDP average over ranks
        found[f"{name} loss"] = reduce(loss.detach()[None]) / world
        if state is not None:
            found[f"{name} state"] = state
    return found


def on_a_rank(rank: int) -> dict[str, Tensor]:
    """What each of the two processes does."""
    mine = torch.tensor([rank + 1.0, 10.0], dtype=torch.float64)
    assert sum_over_ranks(mine).tolist() == [3, 20]
    assert mine.tolist() == [rank + 1, 10], "the argument changed"
    return train(FIRST if rank == 0 else SECOND, 2, sum_over_ranks)


def test_without_a_process_group_a_sum_is_the_value_itself() -> None:
    values = torch.arange(3.0)
    assert sum_over_ranks(values) is values
    assert alone(values) is values


def test_two_ranks_give_what_one_gives(tmp_path: Path) -> None:
    one, [first, second] = train(ONE, 1, alone), two_ranks(on_a_rank, tmp_path)
    assert one.keys() == first.keys() == second.keys()
    for name, whole in one.items():
        if name.endswith(("loss", "state")):
            torch.testing.assert_close(first[name], whole)
            torch.testing.assert_close(second[name], whole)
        else:
            torch.testing.assert_close(torch.cat([first[name], second[name]]), whole, atol=1e-7, rtol=1e-6)
