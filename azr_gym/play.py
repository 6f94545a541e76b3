"""A person plays an environment in the terminal: `azr play CodeTriplet-v0`."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from .base import TaskEnv
from .render import Section, panels, printable
from .roles import Role
from .room import Verdict, verdict_is_good

_HELP = {
    Role.SOLVE: "Write your answer; an empty line ends it.",
    Role.PROPOSE: "Write your proposal; a line with a single dot ends it.",
}
_MORE = " `?` shows one that would do, Ctrl-D ends the game."


def play(env: TaskEnv, episodes: int, seed: int | None = None, console: Console | None = None) -> float:
    """Play episodes, read from standard input.

    Returns:
        The sum of the rewards.
    """
    console = console or Console()
    role = env.game.play.role
    console.print(_HELP[role] + _MORE, style="dim")
    total, played = 0.0, 0
    try:
        for number in range(episodes):
            env.reset(seed=seed if number == 0 else None)
            over = False
            while not over:
                _show(console, env, f"{number + 1} of {episodes}")
                text = _read(console, env)
                _, reward, over, _, info = env.step(text)
                total += reward
                _show_verdict(console, env, info, reward)
            played += 1
    except (EOFError, KeyboardInterrupt):
        console.print()
    console.print(f"[bold]{total:g}[/] in {played} episodes")
    return total


def _scene(env: TaskEnv) -> tuple[list[Section], list[Section]]:
    """What is asked, and what stands under it after an answer."""
    episode = env.episode
    shown: Any = episode.task if episode.task is not None else episode.brief
    asked = env.game.room.scene(shown, None, None, False)
    whole = env.game.room.scene(shown, episode.text, episode.verdict, episode.over)
    return asked, whole[len(asked) :]


def _show(console: Console, env: TaskEnv, title: str) -> None:
    console.rule(title)
    console.print(panels(_scene(env)[0]))


def _read(console: Console, env: TaskEnv) -> str:
    lines: list[str] = []
    end = "" if env.game.play.role is Role.SOLVE else "."
    while True:
        try:
            line = console.input("[bold]> [/]" if not lines else "[bold]. [/]")
        except EOFError:
            if lines:
                return "\n".join(lines)
            raise
        if line.strip() == "?" and not lines:
            console.print(printable(env.oracle()), markup=False, highlight=False, style="dim")
        elif line.strip() == end and lines:
            return "\n".join(lines)
        elif line.strip() or lines:
            lines.append(line)


def _show_verdict(console: Console, env: TaskEnv, info: dict[str, Any], reward: float) -> None:
    verdict = env.episode.verdict
    if env.episode.over:
        console.print(panels([part for part in _scene(env)[1] if part.title != "answer"]))
    elif isinstance(verdict, Verdict):
        console.print(panels([Section(verdict.outcome, verdict.reason, good=verdict_is_good(verdict))]))
    console.print(f"reward {reward:g}\n", style="bold")
