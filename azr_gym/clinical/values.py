"""Reads values as people and models write them: numbers with units, signs and remarks; yes, no and unknown.

What a text says is data: nothing is ever run. Knows no patient.
"""

from __future__ import annotations

import math
import re
import unicodedata

from azr_gym.clinical.library import Analyte, mentioned, most_words, plain

TRANSLATION = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032"), "'"),
    **dict.fromkeys(map(ord, "\u2022\u25e6\u25aa\u2023"), None),  # bullets
    **dict.fromkeys(map(ord, "\u2013\u2014\u2212\u2011"), "-"),
    **dict.fromkeys(map(ord, "\u00b5\u03bc"), "u"),
    **dict.fromkeys(map(ord, "\u00d7"), "x"),
    **dict.fromkeys(map(ord, "\u00a0"), " "),
}
NUMBER = re.compile(
    r"[<>\u2264\u2265~]?\s*([+-]?\d{1,3}(?:[,\s]\d{3})+(?:\.\d+)?|[+-]?\d+(?:[.,]\d+)?|[+-]?\.\d+)"
    r"\s*(?:[x*]\s*10\s*\^?\s*(\d+))?"
)
SECOND = re.compile(  # "(100.9 F)" behind "38.3 C"
    r"[(\[/,;=]\s*(\d{1,3}(?:,\d{3}){1,4}(?:\.\d{1,9})?|\d{1,9}(?:[.,]\d{1,9})?)\s*([^\d\s()\[\]][^\d()\[\]]{0,30}?)"
    r"\s*[)\]]?\s*$"
)
ROUNDING = 0.05  # of a value: what published conversions differ by; the Fahrenheit scale is exact
DEGREES = re.compile(r"\W*(?:deg(?:rees?)?)?(?:c|cel|celsius|f|fahrenheit)")
GRADE = re.compile(r"(?:trace|small|moderate|large)\b|[1-4]\s*\+|\+\s*[1-4]\b|\++(?:ve)?(?!\S)", re.IGNORECASE)
MINUS = re.compile(r"[\s:=(]{1,3}-(?:ve)?\)?$")  # behind the name of what is not there
PLUSES = re.compile(r"\s*[1-4]\s*\+\s*")
RANGE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:-|to)\s*(\d+(?:\.\d+)?)")
ANNOTATION = re.compile(r"\{(.*?)\}")  # of a unit, as UCUM writes what is measured: "ng/mL{FEU}"
YES = frozenset("yes true positive pos present detected reactive abnormal elevated".split()) | {"1"}
NO = frozenset("no false negative neg absent none normal nonreactive never denied denies former ex".split()) | {
    "not detected",
    "non reactive",
    "0",
}
UNKNOWN = frozenset(
    ["", "unknown", "not specified", "pending", "not done", "n a", "na", "not available", "null", "none"]
)
LARGEST = 1e30  # no value is as large
REMARKS = frozenset(["high", "low", "elevated", "raised", "decreased", "h", "l", "normal"])


class Unreadable(ValueError):
    """A value that is no value, with the reason."""


class UnknownUnit(Unreadable):
    """A value with a unit that is none of its analyte's."""


class Disagreement(Unreadable):
    """A value that is given twice, in two units, and not alike."""


def graded(value: object) -> bool:
    """Whether something is a grade of a dipstick on which anything is seen: trace, 1+ to 4+, + to ++++."""
    return isinstance(value, str) and GRADE.match(value.strip()) is not None


def dashed(value: object) -> bool:
    """Whether something is a minus: "-", "(-)", "-ve"."""
    return isinstance(value, str) and MINUS.fullmatch(f" {value.translate(TRANSLATION).strip()}") is not None


def spelled(text: str) -> str:
    """A text whose minus at the end is written out: "urine ketones -" is negative."""
    return MINUS.sub(" negative", text.translate(TRANSLATION).strip())


def truth(value: object) -> bool | None:
    """Whether something is said to be there; None where that is not said."""
    if isinstance(value, bool):
        return value
    said = plain(str(value))
    words = said.split()
    if said in UNKNOWN - NO:
        return None
    if said in NO or (words and words[0] in NO):
        return False
    return True if said in YES or (words and words[0] in YES) else None


def number_of(value: object, analyte: Analyte, called: str = "") -> float | None:
    """A value in the analyte's own unit; None where the text says that it is unknown.

    Numbers, "0.8 ng/mL", "<0.01", "13,400/mm3", "1,7 mg/dL", "110-120" (its middle), "94%", 0.94 for a percentage,
    "38.3 C (100.9 F)" (which must agree), "normal" (the middle of the reference interval). Without a unit it is in the
    analyte's own.

    Args:
        value: what is written.
        analyte: of what.
        called: the name that it goes by there: "urea" is another amount than "BUN", "D-dimer (DDU)" than "(FEU)".

    Raises:
        Unreadable: it is no such value.
        UnknownUnit: its unit is unknown.
        Disagreement: it is given in two units, and not alike.
    """
    unit = ""
    if isinstance(value, list):
        value = value[-1] if value else ""
    if isinstance(value, dict):
        unit = str(value.get("unit") or value.get("units") or "")
        value = value.get("value", "")
    if isinstance(value, bool):
        raise Unreadable("true or false is no number")
    if isinstance(value, int | float):
        return scaled(float(value) if abs(value) < LARGEST else math.inf, unit, analyte, called)
    text = unicodedata.normalize("NFKC", f"{value} {unit}".translate(TRANSLATION)).strip()
    if plain(text) in UNKNOWN:
        return None
    if PLUSES.fullmatch(text):
        raise Unreadable(f"{text!r} is a grade, and no number")
    if plain(text) == "normal":
        return sum(analyte.reference) / 2
    if (both := RANGE.match(text)) is not None and float(both[2]) > float(both[1]):
        return scaled((float(both[1]) + float(both[2])) / 2, text[both.end() :], analyte, called)
    found = NUMBER.search(text)
    if found is None:
        raise Unreadable(f"{text!r} is no number")
    amount, rest = amount_of(found), text[found.end() :]
    if found[2] is not None:
        powered = f"10^{found[2]}{rest}"  # "x 10^9/L" is a unit where cells are counted so
        if _unit(analyte.unit).startswith(_unit(f"10^{found[2]}/")):
            rest = powered
        else:
            amount *= 10.0 ** min(int(found[2]), 30)
    second = SECOND.search(rest)
    if second is None or not _names_unit(second[2], analyte):
        return scaled(amount, rest, analyte, called)
    rest = rest[: second.start()]
    value = scaled(amount, rest, analyte, called)
    if _unit(rest) != _unit(second[2]) and not _alike(value, (amount, rest, found[1]), second, analyte, called):
        raise Disagreement(f"{text!r} are two values")
    return value


def _names_unit(text: str, analyte: Analyte) -> bool:
    if analyte.unit == "Cel":
        return DEGREES.fullmatch(_unit(text)) is not None
    return _unit(text) in {_unit(name) for name in (analyte.unit, *analyte.units)}


def _alike(value: float, first: tuple[float, str, str], second: re.Match[str], analyte: Analyte, called: str) -> bool:
    """Whether a value is the one that stands behind it in another unit, to the last place of either."""
    amount, rest, digits = first
    slack = ROUNDING * abs(value) if analyte.units else 0.0
    slack += abs(scaled(amount + _place(digits), rest, analyte, called) - value)
    again = amount_of(second)
    try:
        other = scaled(again, second[2], analyte, called)
        slack += abs(scaled(again + _place(second[1]), second[2], analyte, called) - other)
    except Unreadable:
        return True
    return abs(other - value) <= slack


def _place(digits: str) -> float:
    """What the last place of a number is worth: 0.1 of "38.3"."""
    places = re.search(r"(?:\.|,(?!\d{3}$))(\d+)$", digits)
    return 10.0 ** -len(places[1]) if places is not None else 1.0


def amount_of(found: re.Match[str]) -> float:
    """The number that `NUMBER` found, without its power of ten."""
    digits = re.sub(r"\s", "", found[1])
    grouped = re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", digits)
    return float(digits.replace(",", "" if grouped else "."))


def _unit(text: str) -> str:
    return re.sub(r"[\s*^\[\]]", "", text.translate(TRANSLATION).casefold().replace("percent", "%").replace("per", "/"))


def scaled(amount: float, rest: str, analyte: Analyte, called: str) -> float:
    """An amount with the text after it, in the analyte's own unit.

    Raises:
        Unreadable: it is not finite.
        UnknownUnit: the text is no unit of the analyte.
    """
    if not math.isfinite(amount):
        raise Unreadable("that is no finite number")
    kind = _kind(rest, analyte) or _kind(called, analyte)
    bare = re.sub(rf"\b{re.escape(kind)}\b", " ", rest, flags=re.IGNORECASE) if kind else rest
    bare = ANNOTATION.sub(" ", bare).strip()
    written = re.split(r"[(;]|\s\[|^\[|\s(?:and|on|at|with)\s", bare)[0].strip(" .,+")
    factors = {_unit(name): factor for name, factor in analyte.units.items()}
    unit = _unit(written)
    # "L" is a litre where that is a unit, else it says "low".
    if unit not in factors and "/" not in unit and plain(written) in REMARKS:
        unit = ""
    low, high = analyte.limits
    if analyte.unit == "Cel":
        hot = unit.endswith(("f", "fahrenheit")) or (not unit and amount > high)
        return (amount - 32) / 1.8 if hot else amount
    if analyte.unit == "%" and unit in ("", "%"):
        share = not unit and 0 < amount <= 1 and low >= 1
        return amount * 100 if share else amount
    if analyte.id == "hba1c" and unit == "mmol/mol":
        return 0.0915 * amount + 2.15  # IFCC to NGSP (Hoelzel 2004)
    if kind:
        factor = factors.get(f"{unit or _unit(analyte.unit)}{{{_unit(kind)}}}")
        if factor is None or (not unit and factor != 1.0):
            given = f"with {written!r}" if unit else "without a unit"
            raise UnknownUnit(f"{kind} is given {given}: write {analyte.name} in {analyte.unit}")
        return amount * factor
    if unit in ("", _unit(analyte.unit)) or not re.search(r"[a-z%/]", unit):
        return _plausible(amount, analyte)
    if unit in factors:
        return amount * factors[unit]
    if re.fullmatch(r"(bpm|beats/min(ute)?|breaths/min(ute)?|/min(ute)?)", unit) and "min" in analyte.unit:
        return amount
    raise UnknownUnit(f"{written!r} is no unit of {analyte.name}: write {analyte.unit}")


def _kind(text: str, analyte: Analyte) -> str:
    """What a text says that is measured, where the analyte's units differ by that: FEU or DDU, urea or its nitrogen.

    Raises:
        UnknownUnit: two of them.
    """
    kinds = {plain(kind): kind for unit in analyte.units for kind in ANNOTATION.findall(unit)}
    there = set(mentioned(plain(text), kinds, most_words(kinds))) if kinds else set[str]()
    if len(there) > 1:
        raise UnknownUnit(f"{' and '.join(sorted(there))} are two units of {analyte.name}: write one")
    return there.pop() if there else ""


def _plausible(amount: float, analyte: Analyte) -> float:
    """Without a unit: the analyte's own, or, where the value can not be that, the only other one in which it can be."""
    low, high = analyte.limits
    if low <= amount <= high:
        return amount
    others = {
        amount * factor
        for name, factor in analyte.units.items()
        if low <= amount * factor <= high and not ANNOTATION.search(name)
    }
    return others.pop() if len(others) == 1 else amount
