"""The paper's run: Absolute Zero on Qwen2.5-7B (arXiv 2505.03335, table 3 and its scripts), with this suite's loop.

    python examples/train_code_7b.py --out runs/qwen7b
    python examples/train_code_7b.py --dry-run path/to/a/tiny/model      # two iterations of everything, in a minute

What the paper has: 64 proposals and 64 tasks per mode, 8 attempts at each, 6 references, TRR++ without KL, one step per
iteration, AdamW at 1e-6, temperature 1, replies of up to 8,096 tokens, 500 iterations, the reward of eq. 6, a pool that
the base fills itself. What differs: every attempt trains the solver, and not one of eight.

Weights, gradients and Adam's moments in float32 and a reference of none need 4 x 4 x 7.6e9 bytes = 122 GB before the
first activation: one GPU of 141 GB with gradient checkpointing, or a smaller model. With `lora_rank=16`,
`dtype="bfloat16"` and a tenfold `lr` the base takes 15 GB, and what is trained 1 GB. Not run at full size here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from azr_agents.config import Config
from azr_agents.train import train

PAPER = Config(
    model="Qwen/Qwen2.5-7B",
    template="r1",  # type: ignore[arg-type]
    prompt_style="full",  # type: ignore[arg-type]
    iterations=500,
    proposals=64,
    tasks=64,
    n_rollouts=8,
    n_references=6,
    seeding="proposer",  # type: ignore[arg-type]
    seed_tasks=256,
    algorithm="trr++",
    lr=1e-6,
    anneal_lr=False,
    warm_up=0,
    steps=1,
    proposer_weight=1.0,
    proposer_kl=0.0,
    share_credit=False,
    refill=0,
    max_new_tokens=8096,
    max_rows=256,
    update_tokens=16_384,
    row_tokens=0,
    gradient_checkpointing=True,
    device="cuda",
    eval_every=50,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/qwen7b"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--dry-run", metavar="MODEL", help="a small model: the same settings, two short iterations")
    chosen = parser.parse_args()
    settings = PAPER.to_json() | {"out": str(chosen.out)}
    if chosen.dry_run:
        settings |= {
            "model": chosen.dry_run,
            "device": "cpu",
            "iterations": 2,
            "proposals": 4,
            "tasks": 4,
            "seed_tasks": 4,
        }
        settings |= {
            "n_rollouts": 2,
            "n_references": 0,
            "max_new_tokens": 16,
            "seeding": "generator",
            "base_floor": 0.0,
        }
        settings |= {"eval_tasks": 4, "eval_samples": 2, "eval_every": 0}
    train(Config.from_json(settings), resume=chosen.resume, console=Console())


if __name__ == "__main__":
    main()
