"""Draws a patient's chart as a picture: who it is, vital signs, laboratory, findings, the work-up, the answer.

Draws what it is given and knows no rule. Of one size, and the same bytes for the same chart; Pillow's own font.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azr_gym import text as texts
from azr_gym.clinical import prompts
from azr_gym.clinical.library import AGE, FEMALE, OLDEST, Analyte, Kind, Library
from azr_gym.clinical.task import CaseTask, Mode
from azr_gym.render import printable
from azr_gym.room import Verdict, verdict_is_good

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT, MARGIN = 1200, 820, 24
PAGE, CARD, LINE = (241, 244, 247), (255, 255, 255), (213, 220, 227)
INK, MUTED, BAND, ON_BAND = (31, 41, 51), (108, 120, 132), (22, 66, 91), (205, 222, 233)
HIGH, LOW, WITHIN = (190, 38, 38), (27, 94, 190), (88, 110, 98)
RANGE, GOOD, BAD = (207, 232, 214), (24, 121, 78), (178, 34, 34)
VITALS = {
    "heart_rate": "Heart rate", "respiratory_rate": "Respiration", "temperature": "Temperature", "spo2": "SpO2",
    "gcs": "GCS", "fio2": "FiO2",
}  # fmt: skip
PRESSURE = ("systolic_bp", "diastolic_bp")
DEGREE = "\N{DEGREE SIGN}"
MAX_STEPS = 8  # of the work-up; the last ones are drawn
COMPLAINTS = 4  # symptoms that the header names; all of them stand below
MAX_ANSWER = 400  # characters of an answer that are looked at


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn.

    Attributes:
        facts: what is known of the patient.
        asked: what is asked of whoever reads the chart.
        steps: the work-up so far: what was done, and what came of it.
        answer: what was answered, where there is an answer.
        outcome: what became of that.
        reason: a sentence about it.
        good: whether that is as it should be.
        diagnosis: what the patient has; "" until the episode is over.
    """

    facts: Mapping[str, float]
    asked: str = ""
    steps: Sequence[tuple[str, str]] = ()
    answer: str | None = None
    outcome: str = ""
    reason: str = ""
    good: bool = False
    diagnosis: str = ""


def of(
    known: Library,
    task: CaseTask,
    text: str | None = None,
    verdict: Verdict[Any] | None = None,
    over: bool = False,
    steps: Sequence[tuple[str, str]] = (),
) -> Chart:
    """The chart of a task, with what was answered. What the patient has is on it only when the episode is over, or
    given (abduction)."""
    has = prompts.diagnosis(known, task.condition)
    given = task.mode is Mode.ABDUCTION
    asked = (
        f"The patient was diagnosed with: {has}. What else is there?" if given else task.question or prompts.QUESTION
    )
    if text is None or verdict is None:
        return Chart(dict(task.facts), asked, steps)
    said = [*texts.tagged(texts.spoken(text) or ""), *filter(None, map(str.strip, text.splitlines()[-1:])), text]
    good, diagnosis = verdict_is_good(verdict), has if over or given else ""
    return Chart(dict(task.facts), asked, steps, said[0], verdict.outcome, verdict.reason, good, diagnosis)


def draw(known: Library, chart: Chart) -> NDArray[np.uint8]:
    """The chart as a picture: uint8 (820, 1200, 3)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    page = _Page(known, chart, ImageDraw.Draw(image))
    page.header()
    page.vitals(92)
    page.laboratory(MARGIN, 200, 614, 706)
    page.findings(626, 200, page.timeline(626, 706) if chart.steps else 706)
    page.verdict(718)
    return np.asarray(image).copy()


@functools.cache
def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]


def _plain(text: str) -> str:
    """A text in the letters that the font has: ASCII and the degree sign."""
    text = unicodedata.normalize("NFKD", printable(text).replace("\N{MICRO SIGN}", "u"))
    kept = (one if one.isascii() or one == DEGREE else "?" for one in text if not unicodedata.combining(one))
    return " ".join("".join(kept).split())


class _Page:
    """The pen over one chart."""

    def __init__(self, known: Library, chart: Chart, pen: ImageDraw) -> None:
        self.known, self.chart, self.pen, self.facts = known, chart, pen, chart.facts

    # --- pieces ---
    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int = 15,
        ink: Any = INK,
        room: float = math.inf,
        anchor: str = "la",
    ) -> float:
        """A line of text, cut where it has no room. Its width."""
        font, said = _font(size), _plain(text)
        if font.getlength(said) > room:
            while said and font.getlength(f"{said}...") > room:
                said = said[:-1]
            said = f"{said.rstrip(' ,;')}..."
        self.pen.text(at, said, ink, font, anchor)
        return font.getlength(said)

    def labelled(
        self, at: tuple[float, float], label: str, text: str, right: float, ink: Any = INK, muted: Any = MUTED
    ) -> None:
        """A small word, and a line after it."""
        start = at[0] + self.text(at, label, 15, muted) + 10
        self.text((start, at[1]), text, 15, ink, right - start)

    def wrapped(self, text: str, size: int, room: float) -> list[str]:
        """The lines of a text."""
        font, lines = _font(size), [""]
        for word in _plain(text).split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def card(self, left: float, top: float, right: float, foot: float, title: str = "") -> None:
        self.pen.rounded_rectangle((left, top, right, foot), 6, CARD, LINE)
        if title:
            self.text((left + 14, top + 11), title.upper(), 12, MUTED)

    def bar(self, left: float, middle: float, width: float, analyte: Analyte) -> None:
        """Where a value lies: the shaded middle is the reference interval."""
        third, place = width / 3, _place(self.facts[analyte.id], *self.interval(analyte), analyte.log) * width
        self.pen.line((left, middle, left + width, middle), LINE, 2)
        self.pen.rectangle((left + third, middle - 4, left + 2 * third, middle + 4), RANGE)
        x = round(left + place)
        self.pen.polygon([(x, middle - 6), (x + 5, middle), (x, middle + 6), (x - 5, middle)], self.ink(analyte))

    def interval(self, analyte: Analyte) -> tuple[float, float]:
        return analyte.interval(bool(self.facts.get(FEMALE)), self.facts.get(AGE, OLDEST))

    def reference(self, analyte: Analyte) -> str:
        low, high = self.interval(analyte)
        return f"{low:g} to {high:g}" if low < 0 else f"{low:g}-{high:g}"

    def flag(self, analyte: Analyte) -> str:
        """H above the reference interval, L below it."""
        low, high = self.interval(analyte)
        value = self.facts[analyte.id]
        return "H" if value > high else "L" if value < low else ""

    def ink(self, analyte: Analyte) -> tuple[int, int, int]:
        return {"H": HIGH, "L": LOW, "": INK}[self.flag(analyte)]

    def names(self, kinds: Iterable[Kind], there: bool) -> list[str]:
        found = (
            self.known.findings[name]
            for name, value in self.facts.items()
            if name in self.known.findings and bool(value) is there
        )
        return [one.name if there else one.absence for one in found if one.kind in kinds]

    # --- parts, from the top ---
    def header(self) -> None:
        self.pen.rectangle((0, 0, WIDTH, 80), BAND)
        who = prompts.person(self.facts)
        self.text((MARGIN, 12), who[0].upper() + who[1:], 28, "white")
        said = "; ".join(self.names([Kind.SYMPTOM], True)[:COMPLAINTS]) or "none written down"
        self.labelled((MARGIN, 49), "Complaint", said, WIDTH - 260, "white", ON_BAND)
        size = [
            f"{self.facts[name]:g} {unit}"
            for name, unit in (("weight_kg", "kg"), ("height_cm", "cm"))
            if name in self.facts
        ]
        self.text((WIDTH - MARGIN, 18), "synthetic patient, for research only", 12, ON_BAND, anchor="ra")
        self.text((WIDTH - MARGIN, 49), ", ".join(size), 15, "white", anchor="ra")

    def vitals(self, top: float) -> None:
        """A tile for each vital sign; the usual five are there even where they are not known."""
        tiles = [PRESSURE, *((name,) for name in VITALS if name in self.facts or name not in ("gcs", "fio2"))]
        gap, count = 12, len(tiles)
        wide = (WIDTH - 2 * MARGIN - gap * (count - 1)) / count
        for number, names in enumerate(tiles):
            left = round(MARGIN + number * (wide + gap))
            self.tile(left, top, round(left + wide), names)

    def tile(self, left: float, top: float, right: float, names: tuple[str, ...]) -> None:
        analytes = [self.known.analytes[name] for name in names]
        known = [one for one in analytes if one.id in self.facts]
        self.card(left, top, right, top + 96)
        self.text((left + 12, top + 9), "Blood pressure" if names == PRESSURE else VITALS[names[0]], 13, MUTED)
        x: float = left + 12
        for number, analyte in enumerate(analytes):
            said = prompts.amount(self.known, analyte.id, self.facts[analyte.id]) if analyte in known else "-"
            x += self.text((x, top + 28), "/", 26, MUTED) + 2 if number else 0
            x += self.text((x, top + 28), said, 26, self.ink(analyte) if analyte in known else MUTED) + 2
        self.text((x + 4, top + 38), analytes[0].printed_unit, 13, MUTED)
        self.text((left + 12, top + 68), " / ".join(map(self.reference, analytes)), 12, MUTED)
        for number, analyte in enumerate(known):
            self.bar(right - 76, top + 75 + 13 * (number - (len(known) - 1) / 2), 64, analyte)

    def laboratory(self, left: float, top: float, right: float, foot: float) -> None:
        """A line for each value: what is out of its reference interval first."""
        self.card(left, top, right, foot, "Laboratory and measurements")
        self.text((left + 400, top + 11), "REFERENCE", 12, MUTED)
        names = [name for name in self.facts if name in self.known.analytes and name not in (*VITALS, *PRESSURE)]
        analytes = sorted(map(self.known.analytes.__getitem__, names), key=lambda one: not self.flag(one))
        room = foot - top - 46
        high = min(28.0, max(22.0, room / max(1, len(analytes))))
        rows = int(room / high + 0.01)
        shown = analytes[:rows]
        for number, analyte in enumerate(shown):
            self.row(left, right, round(top + 38 + number * high), analyte)
        if len(shown) < len(analytes):
            said = f"and {len(analytes) - len(shown)} more"
            self.text((right - 14, top + 11), said, 12, MUTED, anchor="ra")
        if not analytes:
            self.text((left + 14, top + 40), "nothing was measured", 15, MUTED)

    def row(self, left: float, right: float, top: float, analyte: Analyte) -> None:
        """One value: its name, how much, H or L, unit, reference interval, bar."""
        flag, ink = self.flag(analyte), self.ink(analyte)
        if flag:
            self.pen.rectangle((left + 1, top - 2, left + 5, top + 18), ink)
        self.text((left + 14, top), analyte.name, 15, INK, 196)
        self.text(
            (left + 288, top), prompts.amount(self.known, analyte.id, self.facts[analyte.id]), 16, ink, anchor="ra"
        )
        self.text((left + 297, top), flag, 16, ink)
        self.text((left + 318, top + 2), analyte.printed_unit, 13, MUTED, 78)
        self.text((left + 400, top + 2), self.reference(analyte), 13, MUTED, 74)
        self.bar(right - 112, top + 9, 98, analyte)

    def findings(self, left: float, top: float, foot: float) -> None:
        """History first; then what was found, and what was looked for and not found."""
        right = WIDTH - MARGIN
        self.card(left, top, right, foot, "History and findings")
        room = right - left - 142
        order = dict.fromkeys((Kind.HISTORY, Kind.MEDICATION, *prompts.HEADINGS))
        there = ((prompts.HEADINGS[kind], self.names([kind], True), INK) for kind in order)
        y = top + 38
        for heading, names, ink in (*there, ("Not found", self.names(order, False), MUTED)):
            for number, line in enumerate(self.wrapped("; ".join(names), 15, room) if names else ()):
                if y > foot - 44:
                    self.text((left + 128, y), "...", 15, MUTED)
                    return
                self.text((left + 14, y + 1), "" if number else heading, 13, MUTED)
                self.text((left + 128, y), line, 15, ink)
                y += 20
            y += 7 if names else 0

    def timeline(self, left: float, foot: float) -> float:
        """The last steps of the work-up, from below. Where the room above it ends."""
        right, high = WIDTH - MARGIN, 22
        shown = [*enumerate(self.chart.steps, 1)][-MAX_STEPS:]
        top = foot - 46 - high * len(shown)
        self.card(left, top, right, foot, "Work-up")
        self.pen.line((left + 21, top + 46, left + 21, foot - 20), LINE, 2)
        for row, (number, (step, found)) in enumerate(shown):
            y = top + 36 + row * high
            self.pen.ellipse((left + 16, y + 4, left + 26, y + 14), BAND)
            start = left + 46 + self.text((left + 36, y), f"{number}. {step}", 14, INK, 200)
            self.text((start, y), found, 14, MUTED, right - 14 - start)
        return top - 12

    def verdict(self, top: float) -> None:
        """What is asked, or what was answered, and what became of it; the diagnosis when that may be known."""
        chart, right = self.chart, WIDTH - MARGIN
        self.card(MARGIN, top, right, HEIGHT - 16)
        ink = MUTED if chart.answer is None else GOOD if chart.good else BAD
        self.pen.rounded_rectangle((MARGIN, top, MARGIN + 8, HEIGHT - 16), 4, ink)
        x, room = MARGIN + 24, right - MARGIN - 48
        if chart.answer is None:
            self.text((x, top + 12), "no answer yet", 13, MUTED)
            for number, line in enumerate(self.wrapped(chart.asked, 17, room)[:2]):
                self.text((x, top + 34 + 22 * number), line, 17, INK, room)
            return
        self.labelled((x, top + 10), "Answer", chart.answer[:MAX_ANSWER] or "(nothing)", right - 16)
        start = x + self.text((x, top + 33), chart.outcome, 18, ink) + 12
        self.text((start, top + 36), chart.reason, 15, INK, right - 16 - start)
        if chart.diagnosis:
            self.labelled((x, top + 60), "Diagnosis", chart.diagnosis, right - 16)


def _place(value: float, low: float, high: float, log: bool) -> float:
    """Where a value lies on a bar, 0 to 1; its reference interval is the middle third, and the ends are far away."""
    if log and low > 0 and value > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    wide = (high - low) or 1.0
    if low == value == high:
        return 0.5
    if low <= value <= high:
        return (1 + (value - low) / wide) / 3
    away = math.tanh((low - value if value < low else value - high) / wide) / 3
    return 1 / 3 - away if value < low else 2 / 3 + away
