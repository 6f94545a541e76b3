"""One protocol for everything that answers: a policy, a script, a chat API, a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .errors import BadAgent


@dataclass(frozen=True)
class Reply:
    """What an agent wrote. Subclass it to carry more (token ids, log-probabilities): you get the same objects back,
    with their verdicts."""

    text: str


@runtime_checkable
class Agent(Protocol):
    """Whatever answers prompts.

    A reply may depend on its own prompt, on its place among the `n`, and on `seed`; not on the other prompts. Then
    batched and single environments agree. Define `__deepcopy__` as identity where a copy would be dear:
    `env.spec` copies what an environment was made with.
    """

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> Sequence[Sequence[Reply]]:
        """Answer each prompt `n` times: one list of `n` replies per prompt, in their order."""


def check_agent(agent: Any, called: str) -> None:
    """Raise where something can not be an agent.

    Raises:
        BadAgent: it has no `reply` to call.
    """
    if not callable(getattr(agent, "reply", None)):
        raise BadAgent(
            f"{called} must be an Agent: an object with reply(prompts, n, seed) -> one list of n Reply per prompt; "
            f"{type(agent).__name__} has no such method"
        )


def ask(agent: Agent, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
    """Ask once for everything, and check the shape of what comes back.

    Raises:
        BadAgent: the replies are not one list of `n` `Reply` per prompt.
    """
    if not prompts:
        return []
    given = agent.reply(list(prompts), n, seed)
    if not isinstance(given, Iterable):
        raise BadAgent(f"reply must return one list of Reply per prompt, not {type(given).__name__}")
    replies = [_group(group) for group in given]
    sizes = {len(group) for group in replies}
    if len(replies) != len(prompts) or sizes != {n}:
        raise BadAgent(
            f"the agent was asked for {n} replies to each of {len(prompts)} prompts and gave {len(replies)} lists of "
            f"{sorted(sizes)}"
        )
    for reply in (reply for group in replies for reply in group):
        if not isinstance(reply, Reply) or not isinstance(reply.text, str):
            raise BadAgent(f"a reply must be an azr_gym.Reply whose text is a str, not {reply!r:.200}")
    return replies


def _group(group: Any) -> list[Reply]:
    if isinstance(group, Reply | str) or not isinstance(group, Iterable):
        raise BadAgent(f"reply must return a list of Reply for each prompt, not a {type(group).__name__} for one")
    return list(group)
