"""Understands a diagnosis that somebody wrote. No model is asked: names, codes, and a few words that take a claim back.

An answer commits itself to one condition, by any of its names, an abbreviation or its ICD-10-CM code. "Not X", "X or
Y", "rule out X" commit to nothing. A name with a more precise one beside it, "acute MI (NSTEMI)", is the precise one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from azr_gym.clinical.library import Library, mentioned, most_words, plain
from azr_gym.clinical.values import TRANSLATION

MAX_CHARS = 400  # of a line that is an answer
REMEMBERED = 4096  # texts: answers repeat
CODE = re.compile(r"\b([A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?)\b")
HEDGES = re.compile(
    r"\b(?:or|vs|versus|possible|possibly|maybe|perhaps|cannot exclude|can t exclude|differential|consider|"
    r"question of|either|r o|rule out)\b"
)
NEGATIONS = re.compile(
    r"\b(?:no|not|without|never|excluded|unlikely|ruled out|negative for|denies|rather than|instead of)\b"
)
LABEL = re.compile(
    r"^(?:the )?(?:final |primary |main |working |most likely |likely |probable )*"
    r"(?:diagnosis|answer|assessment|impression)(?: is)? |"
    r"^(?:this is|it is|patient has|the patient has|most likely|likely) (?:an? )?"
)
ARTICLES = re.compile(r"^(?:an?|the) ")


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """The names of a library's conditions.

    Attributes:
        names: the condition of every plain name.
        codes: the condition of every code that is one condition's alone; without dots.
        ancestors: what each condition is a kind of.
        longest: words of the longest name.
    """

    names: Mapping[str, str]
    codes: Mapping[str, str]
    ancestors: Mapping[str, frozenset[str]]
    longest: int

    def read(self, text: str) -> str | None:
        """The condition that a line commits itself to; None where there is none, or more than one.

        Args:
            text: a line or two, as an answer has it.
        """
        return _read(self, text) if len(text) <= MAX_CHARS else None

    def look(self, text: str) -> str | None:
        """The same, of a text that was not seen before."""
        clean = unicodedata.normalize("NFKC", text.translate(TRANSLATION)).strip()
        if "?" in clean:
            return None
        whole = spelt(ARTICLES.sub("", LABEL.sub("", plain(clean))))
        if whole in self.names:
            return self.names[whole]
        if HEDGES.search(f" {plain(clean)} "):
            return None
        found = self._codes(clean) | self._within(clean)
        precise = {one for one in found if not any(one in self.ancestors[other] for other in found)}
        return precise.pop() if len(precise) == 1 else None

    def _codes(self, text: str) -> set[str]:
        written = (code.replace(".", "") for code in CODE.findall(text.upper()))
        return {self.codes[code] for code in written if code in self.codes}

    def _within(self, text: str) -> set[str]:
        """The conditions whose longest names stand in a text, and are not taken back there."""
        found: set[str] = set()
        for clause in re.split(r"[.;:()\n]| but |, (?=not |no |without )", text):
            said = spelt(plain(clause))
            if not NEGATIONS.search(said):
                found.update(mentioned(said, self.names, self.longest))
        return found


@functools.lru_cache(maxsize=REMEMBERED)
def _read(matcher: Matcher, text: str) -> str | None:
    return matcher.look(text)


AMERICAN = {
    "amebic": "amoebic", "anemia": "anaemia", "anesthesia": "anaesthesia", "celiac": "coeliac", "center": "centre",
    "cesarean": "caesarean", "color": "colour", "diarrhea": "diarrhoea", "dyspnea": "dyspnoea", "edema": "oedema",
    "esophageal": "oesophageal", "esophagitis": "oesophagitis", "fetal": "foetal", "gonorrhea": "gonorrhoea",
    "gynecological": "gynaecological", "hematoma": "haematoma", "hematuria": "haematuria",
    "hemochromatosis": "haemochromatosis", "hemolytic": "haemolytic", "hemophilia": "haemophilia",
    "hemorrhage": "haemorrhage", "hemorrhagic": "haemorrhagic", "hypercalcemia": "hypercalcaemia",
    "hypercholesterolemia": "hypercholesterolaemia", "hyperglycemia": "hyperglycaemia",
    "hyperkalemia": "hyperkalaemia", "hyperlipidemia": "hyperlipidaemia", "hypermagnesemia": "hypermagnesaemia",
    "hypernatremia": "hypernatraemia", "hyperphosphatemia": "hyperphosphataemia",
    "hypertriglyceridemia": "hypertriglyceridaemia", "hypocalcemia": "hypocalcaemia", "hypoglycemia": "hypoglycaemia",
    "hypokalemia": "hypokalaemia", "hypomagnesemia": "hypomagnesaemia", "hyponatremia": "hyponatraemia",
    "hypophosphatemia": "hypophosphataemia", "hypovolemia": "hypovolaemia", "hypovolemic": "hypovolaemic",
    "ischemia": "ischaemia", "ischemic": "ischaemic", "labor": "labour", "leukemia": "leukaemia",
    "methemoglobinemia": "methaemoglobinaemia", "orthopedic": "orthopaedic", "pediatric": "paediatric",
    "pheochromocytoma": "phaeochromocytoma", "polycythemia": "polycythaemia", "septicemia": "septicaemia",
    "thalassemia": "thalassaemia", "thrombocythemia": "thrombocythaemia", "toxemia": "toxaemia", "tumor": "tumour",
    "uremia": "uraemia",
}  # fmt: skip


def spelt(text: str) -> str:
    """A plain text in British spelling."""
    return " ".join(AMERICAN.get(word, word) for word in text.split())


def matcher(known: Library) -> Matcher:
    """The matcher of a library."""
    shared: dict[str, set[str]] = {}
    for one in known.conditions.values():
        for code in (one.icd10cm, *one.codes):
            shared.setdefault(code.replace(".", "").upper(), set()).add(one.id)
    names = {spelt(name): one for name, one in known.names["condition"].items()}
    return Matcher(
        names,
        {code: ids.copy().pop() for code, ids in shared.items() if len(ids) == 1},
        {one: known.ancestors(one) for one in known.conditions},
        most_words(names),
    )
