"""Every word that a model reads in the clinic. `full` is natural language, `compact` a few marks for small models."""

from __future__ import annotations

import functools
import json
import re
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from azr_gym.clinical.engine import Verdict
from azr_gym.clinical.library import AGE, FEMALE, MALE, OLDEST, PREGNANT, Analyte, Kind, Library, plain
from azr_gym.clinical.panels import Work
from azr_gym.clinical.task import MAX_MESSAGE_CHARS, N_PAIRS, CaseTask, ClinicalTask, Facts, InductionTask, Mode
from azr_gym.roles import PromptStyle
from azr_gym.room import Brief

HEADINGS = {
    Kind.SYMPTOM: "Symptoms", Kind.SIGN: "Examination", Kind.HISTORY: "History", Kind.MEDICATION: "Medication",
    Kind.ECG: "ECG", Kind.IMAGING: "Imaging", Kind.TEST: "Tests", Kind.COURSE: "Course",
}  # fmt: skip
REMEMBERED = 4096  # prompts: a pool's tasks are played more than once
WHO = frozenset([AGE, FEMALE, MALE, PREGNANT])
QUESTION = "What is the most likely diagnosis?"
RIGHT = "that is the diagnosis"
WRONG = "that is not the diagnosis"
UNREADABLE = "no single diagnosis could be read: name one condition"
CONTRADICTION = "two answers that differ: give one"
NO_PATIENT = "no patient could be read: {}"
CHANGED = "the patient is another one: {} must stay as it was given"
NOTHING_ADDED = "nothing is added to the patient: write the findings and values that make the diagnosis certain"
OTHER = {
    Verdict.NO_DIAGNOSIS: "that patient has nothing",
    Verdict.INSUFFICIENT: "what is known of that patient does not settle it",
    Verdict.AMBIGUOUS: "that patient has two conditions, and nothing puts one first",
    Verdict.IMPLAUSIBLE: "there is no such patient: {}",
}
OTHER_DIAGNOSIS = "that patient has something else"
ANY_HINT = "Work out the rule."  # of a baseline that proposes induction tasks
RIGHT_RULE = "that rule gives every hidden label"
OTHER_LABELS = "the rule does not give every hidden label"
UNSETTLED = "whether a hidden patient meets the rule is not settled: it looks at something that is not known"
NO_RULE = "no rule could be read: write one in the grammar that was shown"
TWO_RULES = "two rules that differ: give one"
NO_ACTION = "no action could be read: order one thing, or diagnose one condition"
TWO_ACTIONS = "two actions that differ: give one at a time"
ORDERED = "that is known now"
NOT_AVAILABLE = "that is not available"
KNOWN_ALREADY = "that was known already"
NO_SUCH_ORDER = "there is no such order"
BUDGET_SPENT = "that order exceeds the budget, and there is no diagnosis"
NO_MORE_ORDERS = "that was the last order, and there is no diagnosis"


def amount(known: Library, name: str, value: float) -> str:
    """A value as it is written, without its unit."""
    return _rounded(value, known.analytes[name].decimals if name in known.analytes else 1)


def _rounded(value: float, places: int) -> str:
    return f"{value:.{places}f}".rstrip("0").rstrip(".") if places else f"{value:.0f}"


def person(facts: Mapping[str, float]) -> str:
    """Who it is."""
    who = "woman" if facts.get(FEMALE) else "man"
    age = facts[AGE]
    if age < 18:
        who = "girl" if facts.get(FEMALE) else "boy"
    years = f"{age:.0f}-year-old" if age >= 2 else f"{age * 12:.0f}-month-old"
    return f"{years} {'pregnant ' if facts.get(PREGNANT) else ''}{who}"


def chart(known: Library, facts: Mapping[str, float]) -> str:
    """A patient as a chart."""
    return "\n".join([f"Patient: {person(facts)}.", *_noted(known, facts)])


class _Words(NamedTuple):
    """How the facts of a library stand in a chart."""

    findings: Mapping[str, tuple[int, str, str]]  # the heading's place, there, and not there
    analytes: Mapping[str, tuple[str, int, tuple[float, ...], Sequence[tuple[str, str]]]]
    # before the value, its decimals; from which ages on, what stands after a man's, after a woman's


@functools.lru_cache(maxsize=4)
def _words(known: Library) -> _Words:
    kinds = [*HEADINGS]
    findings = {one.id: (kinds.index(one.kind), one.name, one.absence) for one in known.findings.values()}
    return _Words(findings, {one.id: _around(one) for one in known.analytes.values()})


def _around(analyte: Analyte) -> tuple[str, int, tuple[float, ...], Sequence[tuple[str, str]]]:
    unit = f" {analyte.printed_unit}".rstrip()

    def after(female: bool, age: float) -> str:
        low, high = analyte.interval(female, age)
        return f"{unit} (reference {low:g} to {high:g})"

    ages = [(after(False, start), after(True, start)) for start in analyte.starts]
    return f"- {analyte.name}: ", analyte.decimals, analyte.starts, ages


def _noted(known: Library, facts: Mapping[str, float]) -> list[str]:
    """Everything but who it is."""
    words, female, age = _words(known), bool(facts.get(FEMALE)), facts.get(AGE, OLDEST)
    there, absent = ([list[str]() for _ in HEADINGS] for _ in range(2))
    measured = list[str]()
    for name, value in facts.items():
        if name in words.findings:
            place, present, denied = words.findings[name]
            if value == 1.0:
                there[place].append(present)
            elif value == 0.0:
                absent[place].append(denied)
        elif name in words.analytes:
            before, places, starts, after = words.analytes[name]
            measured.append(f"{before}{_rounded(value, places)}{after[bisect_right(starts, age) - 1][female]}")
        elif name not in WHO:
            measured.append(f"- {name.replace('_', ' ')}: {value:g}")
    found = zip(HEADINGS.values(), there, absent, strict=True)
    lines = [f"{heading}: {'; '.join([*yes, *no])}." for heading, yes, no in found if yes or no]
    return [*lines, "Measured:", *measured] if measured else lines


def compact(known: Library, facts: Mapping[str, float]) -> str:
    """The same in few marks: who it is; what is there; what is not; what was measured."""
    sex = "F" if facts.get(FEMALE) else "M"
    who = f"{facts[AGE]:g} {sex}{' pregnant' if facts.get(PREGNANT) else ''}"
    return "\n".join([who, *_marks(known, facts)])


def _marks(known: Library, facts: Mapping[str, float]) -> list[str]:
    there, absent, values = list[str](), list[str](), list[str]()
    for name, value in facts.items():
        if name in known.findings:
            (there if value else absent).append(name)
        elif name not in WHO:
            values.append(f"{name} {amount(known, name, value)}")
    lines = [
        f"+ {', '.join(there)}" if there else "",
        f"- {', '.join(absent)}" if absent else "",
        ", ".join(values),
    ]
    return [line for line in lines if line]


@functools.lru_cache(maxsize=REMEMBERED)
def solve(known: Library, task: ClinicalTask, style: PromptStyle) -> str:
    """What a solver reads. The key of the task is not looked at."""
    if isinstance(task, InductionTask):
        return _induction(known, task, style)
    assert isinstance(task, CaseTask)
    facts = dict(task.facts)
    if style is PromptStyle.COMPACT:
        asked = f"\n{task.condition} ?" if task.mode is Mode.ABDUCTION else "\n?"
        return f"{compact(known, facts)}{asked} ="
    if task.mode is Mode.DEDUCTION:
        return (
            f"{chart(known, facts)}\n\n{task.question or QUESTION} Think it through first if you like; then put one "
            "condition, by name or ICD-10-CM code, between <answer> and </answer>.\n"
        )
    name = known.conditions[task.condition].name
    return (
        f"Here is a part of a patient's chart.\n\n{chart(known, facts)}\n\nThe patient was diagnosed with: {name}.\n\n"
        "Write what else is found in the patient, so that the diagnosis is certain. What stands above stays as it is, "
        "and need not be repeated. Any such patient is right who could exist. Think it through first if you like; then "
        "put what you add as a JSON object between <answer> and </answer>.\n\n"
        f"The JSON object has, as needed, {FIELDS}"
    )


FIELDS = (
    '"symptoms", "signs", "history", "medications", "ecg", "imaging", "tests" (lists of words; "no ..." for what is '
    'absent), "vitals" and "labs" (values with units).\n'
)
FORM = f'The JSON object has "age", "sex" ("F" or "M"), and as needed "pregnant", {FIELDS}'


def work_up(
    known: Library,
    first: Mapping[str, float],
    comes_with: str,
    orders: Sequence[tuple[str, Mapping[str, float]]],
    left: tuple[float, int],
    question: str,
    style: PromptStyle,
) -> str:
    """What a solver reads who must order what it wants to know.

    Args:
        known: the library.
        first: what is known at first.
        comes_with: the complaint.
        orders: ids of the panels that were ordered ("" for what there is not), and what each has shown.
        left: of the budget, and how many orders.
        question: that a proposer wants asked, or "".
        style: how it is worded.
    """
    if style is PromptStyle.COMPACT:
        shown = [line for name, facts in orders for line in (f"> {name}", *(_marks(known, facts) or ["n/a"]))]
        return "\n".join([compact(known, first), *shown, f"{left[0]:g} ? ="])
    done = []
    for number, (name, facts) in enumerate(orders, 1):
        lines = _noted(known, facts) if facts else ["Not available."]
        unknown = facts and any(one not in facts for one in known.reveals[name])
        more = ["The rest of it: not available."] if unknown else []
        done.append("\n".join([f"{number}. {known.panels[name].name if name else 'no such order'}", *lines, *more]))
    menu = {work: [one for one in known.panels.values() if one.work is work and not one.given] for work in Work}
    said = "\n".join(f"- {work}: {', '.join(f'{one.name} ({one.cost:g})' for one in menu[work])}" for work in Work)
    so_far = "\n\n".join(["Ordered so far:", *done, ""]) if done else ""
    return (
        f"{chart(known, first)}\nComplaint: {comes_with}.\n\n{so_far}{question or QUESTION} Find out more, or say what "
        f"it is. You may spend {left[0]:g} more, and have {left[1]} orders left; whoever spends less does better. What "
        f"there is, and its cost:\n{said}\n\nThink it through first if you like; then write one action between "
        '<answer> and </answer>: "order ..." or "ask ..." with one of these, or "diagnose ..." with one condition, by '
        "name or ICD-10-CM code. A diagnosis ends it.\n"
    )


GRAMMAR = (
    "A rule speaks of facts by the names below. It joins findings and comparisons (<, <=, >, >=, ==, !=) with and, or, "
    "not, and at_least(n, ...); uln(x) and lln(x) are the ends of the reference interval of x. Rules look like these:\n"
    "fever and not cough\n"
    "age >= 65 or lactate > 2 * uln(lactate)\n"
    "at_least(2, fever, heart_rate > 90, leukocytes > 12)\n"
)


def _induction(known: Library, task: InductionTask, style: PromptStyle) -> str:
    if style is PromptStyle.COMPACT:
        shown = "".join(f"{compact(known, dict(facts))}\n= {_label(label)}\n" for facts, label in task.shown)
        return f"{shown}{_remark(task.message)}? ="
    charts = "\n\n".join(
        f"{number}. {chart(known, dict(facts))}\nLabel: {_label(label)}"
        for number, (facts, label) in enumerate(task.shown, 1)
    )
    names = {name for facts, _ in task.shown for name, _ in facts}
    message = f"Whoever chose the patients says of the rule:\n\n{task.message}\n\n" if task.message else ""
    return (
        "Patients were labelled by a hidden rule: true where they meet it, false where they do not.\n\n"
        f"{charts}\n\n{message}{GRAMMAR}\nNames: {_named(known, names)}.\n\n"
        f"Write a rule that gives these labels, and the right ones for {len(task.hidden)} other patients who are not "
        "shown. Think it through first if you like; then put the rule between <answer> and </answer>.\n"
    )


def _label(label: bool) -> str:
    return "true" if label else "false"


def _named(known: Library, names: Collection[str]) -> str:
    """Names as a rule has them, and what they stand for; of a number its unit."""
    said = []
    for name in sorted(names):
        unit = known.analytes[name].unit if name in known.analytes else "1"
        called = known.called(name) if plain(known.called(name)) != plain(name) else ""
        more = ", ".join(part for part in (called, unit if unit != "1" else "") if part)
        said.append(f"{name} ({more})" if more else name)
    return ", ".join(said)


def _remark(message: str) -> str:
    return f"# {' '.join(message.split())}\n" if message else ""


def propose(known: Library, brief: Brief[Any], style: PromptStyle) -> str:
    """What a proposer reads."""
    if brief.mode is Mode.INDUCTION:
        return _propose_inputs(known, brief.subject, style)
    if style is PromptStyle.COMPACT:
        shown = "".join(f"{compact(known, one.whole)}\n\n" for one in brief.references)
        return f"{shown}# patient, {brief.mode}\n"
    wanted = {
        Mode.DEDUCTION: "Another model will see the patient, and must find the diagnosis.",
        Mode.ABDUCTION: "Another model will see a part of the patient and the diagnosis, and must write the rest.",
    }[Mode(brief.mode)]
    examples = "\n\n".join(
        f"Example {number}:\n\n{chart(known, one.whole)}\nDiagnosis: {known.conditions[one.condition].name}"
        for number, one in enumerate(brief.references, 1)
    )
    seen = f"These exist already; yours must differ from them.\n\n{examples}\n\n" if examples else ""
    return (
        f"Invent a patient. {wanted} The best task is one that it solves sometimes, and not always.\n\n{seen}"
        f"Write the patient as a JSON object, between <answer> and </answer>. {FORM}\n"
        "What makes it a task:\n"
        "- The patient could exist: values within what is possible, and none that contradict each other.\n"
        "- What is known settles one diagnosis. The diagnosis itself stands nowhere in it.\n"
        '- Your own question may stand under "prompt".\n'
    )


def _propose_inputs(known: Library, rule: str, style: PromptStyle) -> str:
    if style is PromptStyle.COMPACT:
        return f"{rule}\n\n# induction {N_PAIRS}\n"
    half = N_PAIRS // 2
    names = {*re.findall(r"[a-z]\w*", rule)} & (known.vocabulary.findings | known.vocabulary.numbers)
    facts = [name for name in known.grounds(names) if name not in known.formulas]
    return (
        f"Here is a rule about patients.\n\n{rule}\n\nIt hangs on: {_named(known, facts)}.\n\n"
        f"Invent {N_PAIRS} patients and a message. Another model will see your message and the first {half} patients, "
        f"with labels that say whether each meets the rule, and must write the rule; it is tested on the other {half}. "
        "The best task is one that it solves sometimes, and not always.\n\n"
        f'Write a JSON object between <answer> and </answer>, with "patients", a list of {N_PAIRS} patients, and '
        f'"message", a hint in words of at most {MAX_MESSAGE_CHARS} characters. Each patient is a JSON object. {FORM}\n'
        "What makes it a task:\n"
        "- Every patient could exist, and no two are the same.\n"
        "- What is known of a patient settles whether the rule is met.\n"
        f"- Among the first {half}, and among the last {half}, some meet it and some do not.\n"
        "- The message does not give the rule away.\n"
    )


def answer(known: Library, task: ClinicalTask, style: PromptStyle, verb: str = "") -> str:
    """A right answer, as a solver would write it; a diagnosis after a verb, where one is given."""
    if isinstance(task, InductionTask):
        return task.rule if style is PromptStyle.COMPACT else f"<answer>{task.rule}</answer>"
    assert isinstance(task, CaseTask)
    if task.mode is Mode.DEDUCTION:
        said = task.condition if style is PromptStyle.COMPACT else known.conditions[task.condition].name
        return f"{verb}{said}" if style is PromptStyle.COMPACT else f"<answer>{verb}{said}</answer>"
    added = dict(task.removed)
    return "\n".join(_marks(known, added)) if style is PromptStyle.COMPACT else _tagged(known, added)


def key(known: Library, task: ClinicalTask) -> str:
    """What a solver was to find, as a person reads it."""
    if isinstance(task, InductionTask):
        return task.rule
    assert isinstance(task, CaseTask)
    if task.mode is Mode.DEDUCTION:
        return diagnosis(known, task.condition)
    return "\n".join(_marks(known, dict(task.removed)))


def diagnosis(known: Library, condition: str) -> str:
    """A condition with its code."""
    one = known.conditions.get(condition)
    return f"{one.name} ({one.icd10cm})" if one is not None else condition


def patient(known: Library, facts: Mapping[str, float], style: PromptStyle) -> str:
    """A patient as a proposer would write it."""
    if style is PromptStyle.COMPACT:
        return compact(known, facts)
    return _tagged(known, facts)


def _tagged(known: Library, facts: Mapping[str, float]) -> str:
    return f"<answer>{json.dumps(_record(known, facts), ensure_ascii=False)}</answer>"


def inputs_proposal(known: Library, patients: Sequence[Facts], message: str, style: PromptStyle) -> str:
    """Patients and a message, as a proposer would write them."""
    if style is PromptStyle.COMPACT:
        return "\n".join([*(compact(known, dict(facts)) for facts in patients), _remark(message).rstrip()])
    data = {"patients": [_record(known, dict(facts)) for facts in patients], "message": message}
    return f"<answer>{json.dumps(data, ensure_ascii=False)}</answer>"


def _record(known: Library, facts: Mapping[str, float]) -> dict[str, object]:
    """A patient as JSON data, or a part of one."""
    data: dict[str, object] = {"age": facts[AGE], "sex": "F" if facts.get(FEMALE) else "M"} if AGE in facts else {}
    if facts.get(PREGNANT):
        data["pregnant"] = True
    lists: dict[str, list[str]] = {}
    for name, value in facts.items():
        if name in known.findings:
            finding = known.findings[name]
            lists.setdefault(HEADINGS[finding.kind].lower(), []).append(finding.name if value else finding.absence)
    labs = {
        name: f"{amount(known, name, value)} {known.analytes[name].unit}" if name in known.analytes else value
        for name, value in facts.items()
        if name not in known.findings and name not in WHO
    }
    return data | lists | ({"labs": labs} if labs else {})
