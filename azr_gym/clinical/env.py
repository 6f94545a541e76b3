"""`ClinicalCase-v0`: the clinic as a Gymnasium environment, one at a time and batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import TaskEnv
from ..batch import BatchTaskEnv
from .room import ClinicalRoom
from .solve import Credit


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
    | `abduction` | a diagnosis and a part of a patient | a whole patient | the part is in it, and the engine says so |

    In abduction facts were taken out of a patient until the engine no longer said the diagnosis. Any patient is right
    who could be and has what was given as it was given.
    A mode may be a tuple, to mix. A *proposer* (`role="propose"`) writes a patient as JSON, or in the compact
    notation, with a question of its own under `"prompt"` if it likes; the label is the engine's answer, not what it
    claims.

    ## The engine

    Conditions with ICD-10-CM codes, rules with a source and the page where each threshold was read, analytes with units
    and reference intervals, findings and scores stand in `knowledge/*.toml`, one file an organ system; `python -m
    azr_gym.clinical.review` prints them with the share of drawn patients who really get each diagnosis. All rules are
    judged three-valued: what is unknown is not false. Exactly one of `diagnosis`, `no_diagnosis`, `insufficient`,
    `ambiguous`, `implausible` comes out, with a proof:

    ```python
    from azr_gym.clinical import diagnose, explain, parse_case

    case = '{"age": 65, "sex": "F", "symptoms": ["chest pain", "dyspnea"], "labs": {"Troponin I": "0.8 ng/mL"}}'
    print(explain(diagnose(parse_case(case).facts)))
    ```

    An answer may be any name of the condition, an abbreviation or its ICD-10-CM code. "Not X", "X or Y", "rule out X"
    are no answers. `credit="hierarchical"` writes 0.5 into `info["correctness"]` for a more general name; the reward
    is for the diagnosis alone.

    ## What can not become a task

    Malformed: `malformed` (no JSON object, or neither age nor sex in it). Refused: `contradiction`, `unknown_unit`,
    `implausible` (with the reason: limits, sex and age, Henderson-Hasselbalch, parts larger than their whole ...),
    `ambiguous`, `insufficient`, `no_diagnosis`, `leaks_diagnosis`, `nothing_to_hide` (abduction), `duplicate`,
    `held_out` (one skeleton in eight: the condition, what is there, which values are high or low).

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
    | `role`, `mode`, `pool`, `split`, `reward`, `solver`, ... | | as `CodeTriplet-v0`; splits: `"train"`, `"test"` |
    | `credit` | `"exact"` | or `"hierarchical"` |
    | `conditions` | `()` | ids of the conditions that generated patients have; none named: all |
    | `render_mode` | `None` | `"ansi"`; `"rgb_array"`: the patient's chart, uint8 (820, 1200, 3) |

    ## Versions

    - v0: the first. Treatment, prognosis, work-up, induction and the tabular environment are not there yet.
    """

    def __init__(
        self,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions), render_mode, **options)


class ClinicalCaseVectorEnv(BatchTaskEnv):
    """`ClinicalCaseEnv`, n at once: one call of the engine per step. See `BatchTaskEnv` for its own options."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions), num_envs, **options)
