"""Your own agent: anything with `reply(prompts, n, seed)`. This one asks a chat API, if there is one, and else guesses.

An agent plays every role in every environment, judges as a `solver=` how hard a proposal is, and can be measured with
`azr_agents.evaluate`. Measured: the guesser solves 11 of 200 deduction tasks of level 1.

    python examples/your_own_agent.py
    CHAT_URL=http://localhost:8000/v1/chat/completions CHAT_MODEL=my-model python examples/your_own_agent.py
"""

from __future__ import annotations

import json
import os
import random
import urllib.request
from collections.abc import Sequence

import gymnasium as gym

import azr_gym
from azr_gym import Reply


class Guesser:
    """Answers with the commonest values. A reply hangs on its prompt, its place and the seed, and on nothing else."""

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
        return [[Reply(self._guess(prompt, place, seed)) for place in range(n)] for prompt in prompts]

    def _guess(self, prompt: str, place: int, seed: int) -> str:
        return random.Random(f"{prompt}|{place}|{seed}").choice(["True", "False", "[]", "0", "1", "''"])


class Chat:
    """Asks a server that speaks the chat-completions protocol (vLLM, SGLang, llama.cpp ...)."""

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = url, model

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
        return [self._ask(prompt, n, seed) for prompt in prompts]

    def _ask(self, prompt: str, n: int, seed: int) -> list[Reply]:
        body = {"model": self.model, "n": n, "seed": seed, "messages": [{"role": "user", "content": prompt}]}
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return [Reply(choice["message"]["content"]) for choice in json.load(answer)["choices"]]


def main() -> None:
    url = os.environ.get("CHAT_URL")
    agent: azr_gym.Agent = Chat(url, os.environ["CHAT_MODEL"]) if url else Guesser()

    envs = gym.make_vec("CodeTriplet-v0", num_envs=200, role="solve", mode="deduction", level=1)
    prompts, _ = envs.reset(seed=0)
    texts = [group[0].text for group in agent.reply(prompts, 1, 0)]
    _, rewards, _, _, infos = envs.step(texts)
    print(f"solved {rewards.sum():.0f} of {len(rewards)}; the first verdict: {infos['final_info']['reason'][0]}")

    env = gym.make("CodeTriplet-v0", role="propose", mode="deduction", solver=agent, n_rollouts=8)
    env.reset(seed=0)
    text = "```python\ndef f(x):\n    return x % 2 == 0\n```\n```input\n7\n```"
    _, reward, _, _, info = env.step(text)
    print(f"a proposal that the agent solves {info['solve_rate']:.0%} of the time is worth {reward:.2f}")


if __name__ == "__main__":
    main()
