"""`CodeTriplet-v0`: the code room as a Gymnasium environment, one at a time and batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from azr_sandbox import Runner

from ..base import TaskEnv
from ..batch import BatchTaskEnv
from .room import CodeRoom
from .triplet import N_PAIRS


class CodeTripletEnv(TaskEnv):
    """Programs, inputs and outputs: one agent invents them, one works out what is missing.

    The code game of Absolute Zero (arXiv 2505.03335) as a Gymnasium environment. An agent *solves* a task, or
    *proposes* one; a sandbox runs whatever either has written and is the only judge.

    ```python
    import gymnasium as gym
    import azr_gym  # registers the ids; gym.make("azr_gym:CodeTriplet-v0") does without

    env = gym.make("CodeTriplet-v0", role="solve", mode="deduction")
    prompt, info = env.reset(seed=0)
    prompt, reward, terminated, truncated, info = env.step("<answer>[1, 2, 3]</answer>")
    print(reward, info["outcome"], info["reason"])
    ```

    ## Modes

    | mode | given | wanted | right when |
    |---|---|---|---|
    | `deduction` | program, input | output | it is equal to the program's output, type and all |
    | `abduction` | program, output | an input | the program gives that output for it; any such input is right |
    | `induction` | 5 of 10 pairs, a message | a program | it gives the 5 hidden outputs, in both of two runs |

    `mode` may be a tuple, to mix. Without a `pool` tasks come from a seeded generator: `level` 1 to 5 says how hard,
    `split` is "train", "test" (skeletons kept aside, one in eight) or "ood" (structures that the generator never
    makes).

    ## Spaces

    Observation and action are text: `azr_gym.spaces.Prompt`, at most 65,536 characters. After the last step the
    observation is "". An episode is one task and, unless `max_attempts` says otherwise, one step.

    - **Solve.** The answer may stand in `<answer>` tags, in a fenced block, or bare: the whole text, a line of it
      (with words such as "The answer is" before it), or `code` within a line. Thoughts in `<think>` tags are passed
      over. It is a Python value (deduction), arguments such as `[1, 2], 'a'` (abduction), or a program that defines
      `f` (induction). Values and arguments are read as data and can run nothing. Two answers that differ are
      malformed.
    - **Propose**, deduction and abduction: a program that defines `f`, and an input. Either a ```` ```python ````
      block and an ```` ```input ```` block, or plain code that ends in a call `f(...)`.
    - **Propose**, induction: ten inputs and a message for the program in the prompt. Either ```` ```input ```` blocks
      and a ```` ```message ```` block, or ten calls `f(...)` and a comment.

    `info` of `reset` has `role`, `mode`, `target` ("triplet"), `task_id`, and what the prompt tells as data:
    `program` and `input`, `program` and `output`, or `shown` and `message`. `info` of `step` adds `outcome` (solve:
    "correct", "wrong", "malformed"; propose: "accepted", "refused", "malformed"), `reason`, `attempt`, and for a
    solver `correctness` (share of the hidden pairs). A proposer gets `refusal` and `task`, one of them None, and with
    a task its `metrics` (`ast_nodes`, `cyclomatic`, `halstead_volume`, `halstead_difficulty`, and `novelty`: the
    share of its structure that the pool lacks). The answer key is in none of them.

    ## What can not become a task

    Malformed: `no_program`, `no_input`, `no_message`, `contradiction` (two different proposals). Refused: `syntax`,
    `no_entry` (not one plain function `f`), `forbidden` (imports beyond the allow list of `azr_sandbox.screen`,
    dunders, clocks, entropy), `too_long` (program 4,000 characters, input and output 1,000, message 500; nothing is
    ever cut), `not_plain_data`, `wrong_count`, `held_out` (one structure in eight is kept aside for `split="test"`,
    whatever it is), `duplicate` (of a reference or the pool, by normalised syntax tree and input), `unused_argument`,
    `constant`, `identity`, `runs_not`, `nondeterministic` (two fresh processes with different hash seeds),
    `near_limit` (over a quarter of a limit), and of induction `hidden_equals_shown`, `repeated_input`,
    `message_contains_program`, `message_contains_pairs`. Comments and docstrings are dropped from what becomes a
    task.

    ## Rewards

    `reward="binary"`: a solver gets 1 or 0; a proposer 0, or 1 for a task, or with a `solver` its learnability.
    `"azr"` is eq. 6 of the paper: -0.5 for what is well formed but wrong or refused, -1 for what is malformed.
    `"azr_code"` is what the paper's code does, `"lambda"` gives proposers `reward_weight` times learnability.
    Learnability is 0 where everybody or nobody solves, else `1 - p` (eq. 4), or `learnability="4p(1-p)"`.

    With `solver=agent` each accepted task is tried `n_rollouts` times, all of a step in one `agent.reply(prompts, n,
    seed)`. An agent gives one list of `n` `azr_gym.Reply(text)` per prompt; a reply may depend on its own prompt, its
    place and the seed, not on the other prompts. The judged replies come back in `info["rollouts"]`: for each its
    `prompt`, `reply` (the object that the agent gave), `verdict` and `reward`. They are training data.
    `info["solve_rate"]` is their mean and `info["learnability"]` what that is worth.

    ## Self-play in a screen

    ```python
    import numpy as np
    import gymnasium as gym
    from azr_gym import Reply, TaskPool
    from azr_gym.code import CodeTask, make_tasks

    class Guess:
        # a solver: put your policy here
        def reply(self, prompts, n, seed):
            return [[Reply("<answer>%d</answer>" % place) for place in range(n)] for _ in prompts]

    pool = TaskPool(make_tasks(200), capacity=10_000, eviction="priority")
    envs = gym.make_vec("azr_gym:CodeTriplet-v0", num_envs=4, role="propose", pool=pool, solver=Guess(), n_rollouts=4)
    prompts, infos = envs.reset(seed=0)
    for _ in range(3):
        prompts, rewards, _, _, infos = envs.step(envs.oracle())  # your proposer's texts
        said = infos["final_info"]
        for task, rate in zip(said["task"], said["solve_rate"]):
            if task is not None and pool.add(task, origin="proposer"):
                pool.record(task, attempts=4, successes=round(4 * rate))
    hard = pool.sample(np.random.default_rng(0), 8, "deduction", "learnability")
    pool.save("pool.jsonl")
    print(len(TaskPool.load("pool.jsonl", CodeTask)), len(hard))
    envs.close()
    ```

    ## Pools, batches, helpers

    - The environment reads a `TaskPool` and never writes to it: `pool.add(info["task"])` is up to you, and says
      whether the task was new. A proposal is judged against the pool as it was at `reset`.
    - `gym.make_vec("CodeTriplet-v0", num_envs=64, ...)` plays 64 episodes with one call of the sandbox a step: the
      same episodes, bit for bit, as 64 single environments with seeds `seed + i`. Episodes follow each other within a
      step (`final_info` has the verdicts), or with `autoreset_mode="Disabled"` when you reset them, all or by
      `options={"reset_mask": ...}`. Gymnasium's own async vector environments need `vector_kwargs={"shared_memory":
      False}`.
    - `reset(options={"task": task})` plays one task, in a batch `{"tasks": [...]}`; a proposer takes `{"references":
      [...]}`, or for induction `{"program": source}` (batch: `{"programs": [...]}`).
    - `env.unwrapped.oracle()` is an action that scores; `azr_gym.testing.check_task_env(env)` checks everything said
      here; `azr_gym.code.make_tasks(1000, "abduction")` fills a pool, `azr_gym.code.load_tasks(path, runner)` reads
      files in the shape of CRUXEval; `azr play CodeTriplet-v0` is for people.

    ## Arguments

    | name | default | |
    |---|---|---|
    | `role` | `"solve"` | or `"propose"` |
    | `mode` | `"deduction"` | or `"abduction"`, `"induction"`, a tuple of them |
    | `pool` | `None` | a `TaskPool` of tasks and references; `None`: the generator |
    | `split` | `"train"` | of the generator: `"test"`, `"ood"`; not with a pool |
    | `level` | `2` | of the generator: 1 to 5, or a tuple |
    | `n_pairs` | `10` | pairs of an induction task, half of them shown |
    | `reward`, `reward_weight`, `learnability` | `"binary"`, `1.0`, `"1-p"` | see above |
    | `solver`, `n_rollouts` | `None`, `8` | see above |
    | `n_references` | `6` | most tasks shown to a proposer |
    | `prompt_style` | `"full"` | natural language; `"compact"`: few tokens, for models trained on it |
    | `max_attempts` | `1` | a wrong answer is told why and may be mended; the last attempt is rewarded |
    | `runner` | `"auto"` | `"docker"`, `"jail"`, or a runner of your own; started when it is needed |
    | `render_mode` | `None` | `"ansi"`, `"rgb_array"` |

    Raises `BadArgument` (or `BadAgent`, `BadTask`, `BadAction`, `WrongMoment`: `azr_gym.errors`), each with what to
    do.

    ## Versions

    - v0: the first.
    """

    def __init__(
        self,
        *,
        level: int | Sequence[int] = 2,
        n_pairs: int = N_PAIRS,
        runner: Runner | str = "auto",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(CodeRoom(level, n_pairs, runner), render_mode, **options)


class CodeTripletVectorEnv(BatchTaskEnv):
    """`CodeTripletEnv`, n at once: one call of the sandbox per step. See `BatchTaskEnv` for its own options."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        level: int | Sequence[int] = 2,
        n_pairs: int = N_PAIRS,
        runner: Runner | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(CodeRoom(level, n_pairs, runner), num_envs, **options)
