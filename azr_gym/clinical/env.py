"""`ClinicalCase-v0`: the clinic as a Gymnasium environment, one at a time and batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ..base import TaskEnv
from ..batch import BatchTaskEnv
from ..errors import BadArgument
from .room import ClinicalRoom
from .solve import Credit
from .workup import Terms


class ClinicalCaseEnv(TaskEnv):
    """Patients and diagnoses: one agent invents patients, one says what they have. A rules engine is the judge.

    > **A research simulator.** Its engine is a simplified rule set for making and checking synthetic patients. It is
    > not a medical device, has not been validated, and must not be used for any decision about a real person. How
    > common things are, and how patients present, are design constants and no epidemiology. Do not enter real patients.

    ```python
    import gymnasium as gym
    import azr_gym  # registers the ids; gym.make("azr_gym:ClinicalCase-v0") does without

    env = gym.make("ClinicalCase-v0", role="solve", mode="deduction")
    prompt, info = env.reset(seed=0)
    prompt, reward, terminated, truncated, info = env.step("<answer>NSTEMI</answer>")
    print(reward, info["outcome"], info["reason"])
    ```

    ## Modes

    | mode | given | wanted | right when |
    |---|---|---|---|
    | `deduction` | a patient | the diagnosis | the engine says the same |
    | `abduction` | a diagnosis and a part of a patient | what is to be added | the engine says so of the whole |
    | `induction` | five patients, each labelled true or false by a hidden rule | the rule | it labels five others so |

    In abduction facts were taken out of a patient until the engine no longer said the diagnosis. Any patient is right
    who could be. What was given stays as it was given: an answer need not repeat it, and is wrong where it changes it.

    In induction the ten patients have both labels in either half, and nothing that the rule looks at is unknown. The
    rule is a part of a criterion of the knowledge files, some of its thresholds moved. An answer is a rule in the same
    grammar (`azr_gym/clinical/criteria.py`), at most 400 characters, read as data and never run:

        fever and not cough
        age >= 65 or lactate > 2 * uln(lactate)
        at_least(2, fever, heart_rate > 90, leukocytes > 12)

    It may use any name that the knowledge has, and must settle all five hidden patients as the hidden rule does.

    A mode may be a tuple, to mix. A *proposer* (`role="propose"`) writes a patient as JSON, or in the compact
    notation, with a question of its own under `"prompt"` if it likes; the label is the engine's answer, not what it
    claims. For induction it is given a rule, of a task or a diagnosis of the pool where there is one
    (`reset(options={"rule": text})` gives another), and writes ten patients and a `"message"`, a hint in words.

    ## Spaces

    Observation and action are text: `azr_gym.spaces.Prompt`, at most 65,536 characters. After the last step the
    observation is "". An episode is one task and one step; a work-up, or `max_attempts`, makes it more.

    - **Solve.** The answer may stand in `<answer>` tags, in a fenced block, or bare; thoughts in `<think>` tags are
      passed over. It is one condition (deduction), what is to be added to the patient, as JSON or in the compact
      notation (abduction), a rule (induction), or an action of a work-up. Two conditions, rules or actions that differ
      are malformed.
    - **Propose.** A patient, or for induction ten and a message: likewise in tags, in a fence, or bare.

    | `info` of | key | type | |
    |---|---|---|---|
    | `reset`, `step` | `role`, `mode`, `target` | str | `target` is "diagnosis" |
    | solve | `task_id` | str | made of what is shown |
    | deduction, abduction | `facts` | tuple of (str, float) | shown of the patient; a finding is 1 or 0 |
    | abduction | `condition` | str | id of the given diagnosis |
    | induction | `shown` | tuple of (facts, bool) | five patients with their labels |
    | induction | `message` | str | the proposer's hint, or "" |
    | work-up | `facts` | tuple of (str, float) | known so far |
    | work-up | `orders` | tuple of str | ids of panels, "" for what there is not |
    | work-up | `spent` | float | their cost |
    | `step` | `outcome` | str | see below |
    | | `reason` | str | a sentence |
    | | `attempt` | int | answers so far |
    | solve | `correctness` | float | 0 to 1, see the rewards |
    | propose | `refusal` | `Refusal` (a str) or None | why it is no task |
    | propose | `task` | `CaseTask`, `InductionTask` or None | with one also its `task_id` |
    | propose | `metrics` | dict of str: float | of a task, see below |
    | with a `solver` | `rollouts` | tuple of `Rollout` | each `prompt`, `reply`, `verdict`, `reward` |
    | with a `solver` | `solve_rate`, `learnability` | float | 0 to 1 |

    `outcome` is of a solver "correct", "wrong" or "malformed", in a work-up also "open" and "unanswered"; of a proposer
    "accepted", "refused" or "malformed". `metrics` has `facts`, how many the patient has or the rule looks at, and
    `novelty`, the share of the task's features that the pool lacks. A solver's `info` never has the answer key.

    ## Work-up

    `workup="sequential"` (role solve, mode deduction; nothing else) shows the complaint, the history and the vital
    signs alone. Each step is one action in words: "order troponin", "order CBC", "ask about medicines" reveal a panel
    of `knowledge/panels.toml`; "diagnose NSTEMI" ends the episode. Results are the patient's; what is not known of the
    patient is not available. Panels go by any of their names, or by a value or finding that they show. The next
    observation is the prompt with everything that is known by then; `info` has `facts`, `orders` and `spent`.

    | what | reward | |
    |---|---|---|
    | an order | -0.01 x its cost x `cost_weight` | a question costs 1, a CT of the chest 8, a biopsy 15 |
    | one that was made already, or that there is not | 0 | |
    | the right diagnosis | the preset's reward for it: 1 | terminates |
    | a wrong one, or no action | the preset's: 0, or -0.5 and -1 | terminates (after `max_attempts`) |
    | order number `max_steps`, or one that exceeds the `budget` | as a wrong one; outcome `unanswered` | truncates |
    | either, where minutes matter (acuity 1) | `critical_miss` less | |

    With the default terms an episode's reward lies between -1.1 and 1; with preset `azr` between -2.1 and 1.

    ## The engine

    Conditions with ICD-10-CM codes, rules with a source and the page where each threshold was read, analytes with units
    and reference intervals, findings and scores stand in `knowledge/*.toml`, one file an organ system, and all sources
    in [knowledge/SOURCES.md](knowledge/SOURCES.md); `python -m azr_gym.clinical.review` prints them with the share of
    drawn patients who really get each diagnosis. All rules are judged three-valued: what is unknown is not false.
    Exactly one of `diagnosis`, `no_diagnosis`, `insufficient`, `ambiguous`, `implausible` comes out, with a proof:

    ```python
    from azr_gym.clinical import diagnose, explain, parse_case

    case = '{"age": 65, "sex": "F", "symptoms": ["chest pain", "dyspnea"], "labs": {"Troponin I": "0.8 ng/mL"}}'
    print(explain(diagnose(parse_case(case).facts)))
    ```

    An answer may be any name of the condition, an abbreviation or its ICD-10-CM code. "Not X", "X or Y", "rule out X"
    are no answers.

    ## What can not become a task

    Malformed: `malformed` (no JSON object, or neither age nor sex in it). Refused: `contradiction`, `unknown_unit`,
    `implausible` (with the reason: limits, sex and age, Henderson-Hasselbalch, parts larger than their whole ...),
    `ambiguous`, `insufficient`, `no_diagnosis`, `leaks_diagnosis`, `nothing_to_hide` (abduction), `duplicate`,
    `held_out` (one skeleton in eight: the condition, what is there, which values are high or low; of a rule, which
    facts are joined how, without the numbers). Induction also: malformed `no_message`; refused `wrong_count`,
    `repeated_patient`, `undecided` (whether a patient meets the rule), `one_label` (a half is all true or all false),
    `too_long`, `forbidden` (control characters), `message_contains_rule` (a test as it is written there, or all its
    facts and numbers).

    ## Rewards

    | `reward` | solve: correct / wrong / malformed | propose: a task / refused / malformed |
    |---|---|---|
    | `"binary"` | 1 / 0 / 0 | learnability / 0 / 0 |
    | `"azr"` | 1 / -0.5 / -1 | learnability / -0.5 / -1 (arXiv 2505.03335, eq. 6) |
    | `"azr_code"` | as `"azr"` | as `"azr"`, but -0.5 where the solve rate is 0 or 1, as the paper's code does |
    | `"lambda"` | 1 / 0 / 0 | `reward_weight` times learnability / 0 / 0 |

    Learnability is 0 where every or no attempt of the `solver` is right, else `1 - p` of the solve rate p (eq. 4), or
    `learnability="4p(1-p)"`; without a `solver` a task counts as 1. A work-up's costs are added, see there.

    An answer is right or it is not: shares stand in `info["correctness"]` alone. Of a rule that is the share of the
    hidden patients whom it labels right; of a diagnosis 1 or 0, and with `credit="hierarchical"` 0.5 for a more general
    name, such as "acute myocardial infarction" for an NSTEMI.

    ## Levels and splits

    | `level` | of split | generated patients |
    |---|---|---|
    | `"typical"` | train, test | have all that nine in ten with the condition have; what bears on it is measured |
    | `"distractors"` | train, test | also more without a bearing on it: findings, normal values |
    | `"missing"` | train, test | most of what the diagnosis does not need is unknown |
    | `"atypical"` | ood | lack something that nine in ten have; the engine says the condition all the same |
    | `"comorbid"` | ood | have two conditions that do not explain each other; the engine ranks them |

    `None` is typical, and with `split="ood"` atypical and comorbid in equal parts. No generated patient of another
    split lacks what is characteristic, or is drawn for two conditions; proposers may write such patients, as those of
    `CodeTriplet-v0` may write any program. A rule (induction) has no level; of split ood it is made of the rules of
    two conditions of different organ systems, with `and` or `or` between them.

    ## FHIR

    Patients go out and come in as FHIR R4 bundles (`pip install 'azr-gym[fhir]'` to write them; models of R4B, which is
    R4 in all that is used). Measurements carry LOINC codes and UCUM units, findings a text and a code of this project's
    own; none of SNOMED CT. Units that are known are converted, and what could not be read is listed in `notes`:

    ```python
    from azr_gym.clinical.fhir import from_bundle, to_bundle

    bundle = to_bundle({"age": 45.0, "female": 0.0, "male": 1.0, "fatigue": 1.0, "tsh": 8.0})
    print(from_bundle(bundle.model_dump_json()).facts)
    ```

    ## Arguments

    | name | default | |
    |---|---|---|
    | `role`, `mode`, `pool`, `split`, `reward`, `solver`, ... | | as `CodeTriplet-v0` |
    | `credit` | `"exact"` | or `"hierarchical"`, see the rewards |
    | `conditions` | `()` | ids of the conditions that generated patients have; none named: all |
    | `level` | `None` | of generated patients, or a tuple to mix; see above |
    | `workup` | `None` | or `"sequential"`, and then: |
    | `budget`, `max_steps` | 60, 20 | cost and number of orders |
    | `cost_weight`, `critical_miss` | 1, 0.5 | see the work-up's rewards |
    | `render_mode` | `None` | `"ansi"`; `"rgb_array"`: the patient's chart, uint8 (820, 1200, 3) |

    ## Versions

    - v0: the first. Treatment and prognosis are not there yet. The work-up in numbers is `ClinicalCaseTabular-v0`.
    """

    def __init__(
        self,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        level: str | Sequence[str] | None = None,
        workup: str | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions, level, _terms(workup, options)), render_mode, **options)


class ClinicalCaseVectorEnv(BatchTaskEnv):
    """`ClinicalCaseEnv`, n at once: one call of the engine per step. See `BatchTaskEnv` for its own options."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        level: str | Sequence[str] | None = None,
        workup: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions, level, _terms(workup, options)), num_envs, **options)


def _terms(workup: str | None, options: dict[str, Any]) -> Terms | None:
    """What a work-up costs, taken out of the options.

    Raises:
        BadArgument: no such work-up, or terms without one.
    """
    given = {one.name: options.pop(one.name) for one in fields(Terms) if one.name in options}
    if workup not in (None, "sequential"):
        raise BadArgument(f"workup must be 'sequential' or None, not {workup!r}")
    if workup is None and given:
        raise BadArgument(f"{', '.join(given)}: that is for workup='sequential'")
    return Terms(**given) if workup is not None else None
