"""Absolute Zero self-play in one file: propose, solve, learn, on top of `gym.make_vec` and nothing else of the suite.

The algorithm of arXiv 2505.03335 as plainly as it can be read: no cache tricks, no checkpoints, no options. One model
plays both roles; the advantage is TRR++ (eq. 8), one baseline for each (mode, role). `azr train` is the same loop, made
fast, resumable and measured.

    python examples/selfplay_one_file.py --iterations 30
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from azr_gym import Outcome, TaskPool
from azr_gym.rewards import learnability

BASE = Path(__file__).parents[1] / "agents" / "azr_agents" / "bases" / "code"
MODES = ("deduction", "abduction")
PROPOSALS, ATTEMPTS, LENGTH = 8, 8, 96


@dataclass
class Sample:
    """A prompt, what was written after it, for which (mode, role), and what it earned."""

    group: tuple[str, str]
    prompt: list[int]
    answer: list[int]
    text: str
    reward: float = 0.0


class Player:
    """A language model that answers prompts, and learns from rewards."""

    def __init__(self, path: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=6e-4, betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def play(self, prompts: list[str], group: tuple[str, str]) -> list[Sample]:
        """One answer to each prompt, at temperature 1."""
        batch = self.tokenizer(
            prompts, padding=True, padding_side="left", return_tensors="pt", return_token_type_ids=False
        )
        out = self.model.generate(**batch, do_sample=True, top_k=0, max_new_tokens=LENGTH)
        samples = []
        for prompt, row in zip(prompts, out[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            end = row.index(self.tokenizer.eos_token_id) + 1 if self.tokenizer.eos_token_id in row else len(row)
            text = str(self.tokenizer.decode(row[:end], skip_special_tokens=True))
            samples.append(Sample(group, self.tokenizer(prompt)["input_ids"], row[:end], text))
        return samples

    def learn(self, samples: list[Sample]) -> None:
        """One step of REINFORCE with a baseline and a scale for each (mode, role): TRR++, eq. 8."""
        rewards = defaultdict(list)
        for one in samples:
            rewards[one.group].append(one.reward)
        tokens = sum(len(one.answer) for one in samples)
        self.optimizer.zero_grad()
        for start in range(0, len(samples), 64):
            part = samples[start : start + 64]
            width = max(len(one.prompt) + len(one.answer) for one in part)
            ids = torch.zeros(len(part), width, dtype=torch.long)
            weight = torch.zeros(len(part), width)
            for row, one in enumerate(part):
                ids[row, : len(one.prompt) + len(one.answer)] = torch.tensor(one.prompt + one.answer)
                held = torch.tensor(rewards[one.group])
                advantage = (one.reward - held.mean()) / (held.std(unbiased=False) + 1e-6)
                weight[row, len(one.prompt) : len(one.prompt) + len(one.answer)] = advantage
            logprobs = self.model(input_ids=ids).logits[:, :-1].log_softmax(-1)
            chosen = logprobs.gather(-1, ids[:, 1:, None])[..., 0]
            (-(chosen * weight[:, 1:]).sum() / tokens).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def make(count: int, **options: Any) -> Any:
    """Environments that are reset by hand."""
    return gym.make_vec(
        "CodeTriplet-v0", num_envs=count, prompt_style="compact", reward="azr", autoreset_mode="Disabled", **options
    )


def held_out(player: Player, count: int = 100) -> float:
    """Share of held-out tasks that are solved at temperature 1."""
    right = 0
    for mode in MODES:
        envs = make(count, role="solve", mode=mode, split="test", level=(1, 2))
        prompts, _ = envs.reset(seed=10_000)
        infos = envs.step([one.text for one in player.play(list(prompts), (mode, "solve"))])[4]
        right += sum(outcome == Outcome.CORRECT for outcome in infos["outcome"])
    return right / (count * len(MODES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(BASE))
    parser.add_argument("--iterations", type=int, default=30)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    player, pool = Player(chosen.model), TaskPool[Any]()
    proposers = {mode: make(PROPOSALS, role="propose", mode=mode, pool=pool, n_references=2) for mode in MODES}
    solvers = {mode: make(PROPOSALS * ATTEMPTS, role="solve", mode=mode) for mode in MODES}
    print(f"held-out tasks solved before: {held_out(player):.1%}")
    for iteration in range(1, chosen.iterations + 1):
        samples: list[Sample] = []
        solved = valid = 0
        for mode in MODES:
            # Propose. The environment runs every program and says which may become tasks.
            prompts, _ = proposers[mode].reset(seed=1000 * iteration)
            proposals = player.play(list(prompts), (mode, "propose"))
            _, rewards, _, _, infos = proposers[mode].step([one.text for one in proposals])
            tasks = [task for task in infos["task"] if task is not None]
            # Solve. Each task is tried several times: how often it is solved is what its proposer is paid for.
            rates: dict[bytes, float] = {}
            if tasks:
                asked = [tasks[index % len(tasks)] for index in range(PROPOSALS * ATTEMPTS)]
                prompts, _ = solvers[mode].reset(seed=iteration, options={"tasks": asked})
                attempts = player.play(list(prompts), (mode, "solve"))
                _, earned, _, _, told = solvers[mode].step([one.text for one in attempts])
                right = [outcome == Outcome.CORRECT for outcome in told["outcome"]]
                for one, reward in zip(attempts, earned, strict=True):
                    one.reward = float(reward)
                for task in tasks:
                    mine = [good for good, other in zip(right, asked, strict=True) if other.key == task.key]
                    rates[task.key] = sum(mine) / len(mine)
                    pool.add(task, "proposer")
                samples += attempts
                solved += sum(right)
            for one, reward, task in zip(proposals, rewards, infos["task"], strict=True):
                one.reward = float(reward) if task is None else learnability(rates[task.key])
            samples += proposals
            valid += len(tasks)
        player.learn(samples)
        print(f"iteration {iteration}: {valid} of {PROPOSALS * len(MODES)} proposals valid, {solved} attempts right")
    print(f"held-out tasks solved after: {held_out(player):.1%}")


if __name__ == "__main__":
    main()
