"""Patients as FHIR R4 bundles, and back. Needs the extra `fhir` to write; reading needs nothing.

`fhir.resources` 8 has models of R5 and of R4B, and none of R4. Bundles here are R4B's: outside of the definition of
medicines, evidence and subscriptions R4B is R4 unchanged (https://hl7.org/fhir/R4B/r4b-explanation.html).

What is measured is an Observation with a LOINC code, where the knowledge files hold one, and a UCUM unit. Findings
have a text and a code of this project's own system: history is a Condition, a medicine a MedicationStatement, all else
an Observation that is true or false. Age is an Observation too (LOINC 30525-0): there is no clock here that would turn
it into a date of birth. No code of SNOMED CT is written. LOINC's notice stands in `knowledge/SOURCES.md`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from azr_gym.clinical.case import Parsed, Reader, Trouble
from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, Analyte, Finding, Kind, Library, knowledge, plain
from azr_gym.clinical.task import frozen
from azr_gym.clinical.values import LARGEST, Unreadable, number_of, truth
from azr_gym.errors import BadArgument

if TYPE_CHECKING:
    from fhir.resources.R4B.bundle import Bundle

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
OURS = "https://azr-gym.example/fhir/CodeSystem/"  # and "analyte" or "finding"; the name is reserved, and leads nowhere
HL7 = "http://terminology.hl7.org/CodeSystem/"
# Codes as HL7 publishes them: age https://build.fhir.org/ig/HL7/UTG/ValueSet-v3-LOINCObservationActContextAgeDefinitionCode.html,
# pregnancy https://hl7.org/fhir/uv/ips/ConceptMap-loinc-pregnancy-status-to-snomed-ct-uv-ips.html,
# weight and height https://hl7.org/fhir/R4B/valueset-observation-vitalsignresult.html.
AGE_CODE, PREGNANCY_CODE = "30525-0", "82810-3"
PREGNANCY = {1.0: ("LA15173-0", "Pregnant"), 0.0: ("LA26683-5", "Not pregnant")}
BODY_CODES = {"weight_kg": ("29463-7", "Body weight", "kg"), "height_cm": ("8302-2", "Body height", "cm")}
BODY_UNITS = {
    "weight_kg": {"kg": 1.0, "g": 0.001, "[lb_av]": 0.45359237}, "height_cm": {"cm": 1.0, "m": 100.0, "[in_i]": 2.54},
    AGE: {"a": 1.0, "mo": 1 / 12, "wk": 7 / 365.25, "d": 1 / 365.25},
}  # fmt: skip
# The units of the knowledge files that UCUM writes otherwise; a Wood unit is 1 mmHg min/L.
UCUM_UNITS = {"pH": "[pH]", "mmHg": "mm[Hg]", "mOsm/kg": "mosm/kg", "10^9/L": "10*9/L", "WU": "mm[Hg].min/L"}
READ_UNITS = {code: unit for unit, code in UCUM_UNITS.items()} | {"[degF]": "F"}
VOID = frozenset(["entered-in-error", "cancelled"])
ENDED = frozenset(["inactive", "resolved", "remission"])


def to_bundle(facts: Mapping[str, float], known: Library | None = None) -> Bundle:
    """A patient as a Bundle (of type "collection") that `fhir.resources` has validated. Equal facts, equal Bundle.

    Args:
        facts: numbers in the library's units, 1 for true, 0 for false.
        known: the library that the names are of.

    Raises:
        BadArgument: a name that the library does not know, a value that is no number, or no extra `fhir`.
    """
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError as error:
        raise BadArgument(f"FHIR bundles need an extra: pip install 'azr-gym[fhir]' ({error})") from None
    known, facts = known or knowledge(), dict(frozen(facts))
    named = uuid.uuid5(uuid.NAMESPACE_URL, OURS + json.dumps(sorted(facts.items())))
    resources = [_patient(facts), *(_resource(known, *one) for one in facts.items() if one[0] not in (FEMALE, MALE))]
    addresses = [f"urn:uuid:{uuid.uuid5(named, str(number))}" for number in range(len(resources))]
    for resource in resources[1:]:
        resource["subject"] = {"reference": addresses[0]}
    entries = [{"fullUrl": at, "resource": resource} for at, resource in zip(addresses, resources, strict=True)]
    return Bundle.model_validate({"resourceType": "Bundle", "type": "collection", "entry": entries})


def _patient(facts: Mapping[str, float]) -> dict[str, Any]:
    gender = next((sex for sex in (FEMALE, MALE) if facts.get(sex) == 1.0), "unknown")
    return {"resourceType": "Patient", "gender": gender}


def _resource(known: Library, name: str, value: float) -> dict[str, Any]:
    """A fact as a resource, without its subject."""
    if name == AGE:
        return _observation(_concept("Age", (LOINC, AGE_CODE)), valueQuantity=_quantity(value, "a"))
    if name == PREGNANT:
        code, text = PREGNANCY[float(value == 1.0)]
        return _observation(
            _concept("Pregnancy status", (LOINC, PREGNANCY_CODE)), valueCodeableConcept=_concept(text, (LOINC, code))
        )
    if name in BODY_CODES:
        code, text, unit = BODY_CODES[name]
        return _observation(_concept(text, (LOINC, code)), valueQuantity=_quantity(value, unit))
    if name in known.analytes:
        return _measured(known.analytes[name], value)
    if name in known.findings:
        return _found(known.findings[name], value == 1.0)
    raise BadArgument(f"{name!r} is nothing that the library knows: it has analytes, findings, age, weight and height")


def _measured(analyte: Analyte, value: float) -> dict[str, Any]:
    codes = [(LOINC, analyte.loinc)] if analyte.loinc else []
    return _observation(
        _concept(analyte.name, *codes, (f"{OURS}analyte", analyte.id)),
        valueQuantity=_quantity(value, UCUM_UNITS.get(analyte.unit, analyte.unit)),
    )


def _found(finding: Finding, there: bool) -> dict[str, Any]:
    concept = _concept(finding.name, (f"{OURS}finding", finding.id))
    match finding.kind:
        case Kind.HISTORY:
            status = _concept("", (f"{HL7}condition-ver-status", "confirmed" if there else "refuted"))
            clinical = {"clinicalStatus": _concept("", (f"{HL7}condition-clinical", "active"))} if there else {}
            return {"resourceType": "Condition", "code": concept, "verificationStatus": status} | clinical
        case Kind.MEDICATION:
            taken = "active" if there else "not-taken"
            return {"resourceType": "MedicationStatement", "status": taken, "medicationCodeableConcept": concept}
        case _:
            return _observation(concept, valueBoolean=there)


def _observation(code: dict[str, Any], **value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": code} | value


def _concept(text: str, *codes: tuple[str, str]) -> dict[str, Any]:
    coding = [{"system": system, "code": code} for system, code in codes]
    return {"coding": coding} | ({"text": text} if text else {})


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


# --- and back -----------------------------------------------------------------------------------------------------
def from_bundle(bundle: Bundle | Mapping[str, Any] | str | bytes, known: Library | None = None) -> Parsed:
    """Read a patient from a Bundle, of this module or of anybody else.

    Analytes are known by LOINC code, by this project's own, or by name; findings by own code or name. Units are
    converted; of several values of one thing the latest counts. Age is its Observation, or else the time between
    `birthDate` and what the Bundle says of when it is: its `timestamp`, or its last Observation. What can not be read
    is in `notes`; where it is no patient, `trouble` and `reason` say why.

    Args:
        bundle: a model of `fhir.resources`, JSON data, or JSON text.
        known: the library whose names count.

    Raises:
        BadArgument: it is no Bundle.
    """
    data = _data(bundle)
    return _Importer(known or knowledge()).read(data)


def _data(bundle: Any) -> Mapping[str, Any]:
    if hasattr(bundle, "model_dump_json"):
        bundle = bundle.model_dump_json()
    if isinstance(bundle, str | bytes):
        try:
            bundle = json.loads(bundle)
        except (ValueError, RecursionError) as error:
            raise BadArgument(f"that is no JSON: {error}; give a FHIR R4 Bundle") from None
    if not isinstance(bundle, Mapping) or bundle.get("resourceType") != "Bundle":
        found = bundle.get("resourceType") if isinstance(bundle, Mapping) else type(bundle).__name__
        raise BadArgument(f'that is no FHIR Bundle but {found!r}: give JSON data with "resourceType": "Bundle"')
    return bundle


class _Importer:
    """Reads the resources of one Bundle."""

    def __init__(self, known: Library) -> None:
        self.known, self.reader, self.notes = known, Reader(known), list[str]()
        self.loinc = {one.loinc: one.id for one in known.analytes.values() if one.loinc}
        self.facts = dict[str, tuple[str, float]]()  # when it was so, as the Bundle writes that, and the value
        self.born, self.last, self.patients = "", "", 0

    def read(self, bundle: Mapping[str, Any]) -> Parsed:
        self.last = _text(bundle.get("timestamp"))
        for entry in _list(bundle.get("entry")):
            self.resource(_table(_table(entry).get("resource")))
        if AGE not in self.facts and (age := _years(self.born, self.last)) is not None:
            self.put(AGE, age)
        for name, (_, value) in self.facts.items():
            self.reader.put(name, value)
        if self.patients > 1:
            self.reader.trouble = (Trouble.CONTRADICTION, "the Bundle is of several patients: give one")
        self.reader.notes += self.notes
        return self.reader.read({})

    def resource(self, one: Mapping[str, Any]) -> None:
        kind = one.get("resourceType")
        if kind == "Patient":
            self.patients += 1
            self.born = _text(one.get("birthDate"))
            if (sex := _text(one.get("gender"))) in (FEMALE, MALE):
                self.reader.sex(sex)
        elif _text(one.get("status")) in VOID or _code(one.get("verificationStatus")) in VOID:
            self.notes.append(f"{kind} {_said(one.get('code'))!r} is taken back")
        elif kind == "Observation":
            self.last = max(self.last, when := _when(one))
            for part in (one, *map(_table, _list(one.get("component")))):
                self.observation(part, when)
        elif kind == "Condition":
            ended = _code(one.get("clinicalStatus")) in ENDED
            refuted = _code(one.get("verificationStatus")) == "refuted"
            self.finding(one.get("code"), not refuted, _text(one.get("recordedDate")), "it is over" if ended else "")
        elif kind == "MedicationStatement":
            status = _text(one.get("status"))
            ended = status in ("completed", "stopped", "on-hold", "intended")
            concept = one.get("medicationCodeableConcept")
            self.finding(concept, status != "not-taken", _text(one.get("dateAsserted")), "it is over" if ended else "")
        else:
            self.notes.append(f"a {kind} is nothing that is read here")

    def observation(self, one: Mapping[str, Any], when: str) -> None:
        concept, said = one.get("code"), _said(one.get("code"))
        value = next((one[key] for key in one if key.startswith("value")), None)
        codes = set(_codes(concept))
        if value is None:
            if "component" not in one and "hasMember" not in one:
                self.notes.append(f"{said!r} has no value")
        elif (LOINC, PREGNANCY_CODE) in codes:
            pregnant = {code: there for there, (code, _) in PREGNANCY.items()}
            if (code := _code(value)) in pregnant:
                self.put(PREGNANT, pregnant[code], when)
            else:
                self.notes.append(f"whether she is pregnant: {_said(value)!r}")
        elif (body := self.body(codes)) is not None:
            self.sized(body, value, when)
        elif (name := self.analyte(concept)) is not None:
            self.measured(name, said, value, when)
        else:
            there = truth(_said(value) if isinstance(value, Mapping) else value)
            if there is None:
                self.notes.append(f"{said!r} is nothing that is known here, or neither there nor not")
            else:
                self.finding(concept, there, when)

    def body(self, codes: set[tuple[str, str]]) -> str | None:
        """Age, weight or height, where the codes are one's."""
        known = {AGE_CODE: AGE} | {code: name for name, (code, _, _) in BODY_CODES.items()}
        return next((known[code] for system, code in codes if system == LOINC and code in known), None)

    def sized(self, name: str, value: Any, when: str) -> None:
        quantity = _table(value)
        amount: Any = quantity.get("value")
        unit = _text(quantity.get("code")) or _text(quantity.get("unit"))
        factor = BODY_UNITS[name].get(unit)
        number = isinstance(amount, int | float) and not isinstance(amount, bool) and abs(amount) < LARGEST
        if factor is None or not number:
            self.notes.append(f"{name.replace('_', ' ')}: {amount!r} {unit!r} can not be read")
        else:
            self.put(name, float(amount) * factor, when)

    def analyte(self, concept: Any) -> str | None:
        """The analyte that a concept is."""
        codes = [*_codes(concept)]
        own = (code for system, code in codes if system == f"{OURS}analyte" and code in self.known.analytes)
        coded = (self.loinc[code] for system, code in codes if system == LOINC and code in self.loinc)
        named = (self.known.names["analyte"].get(plain(text)) for text in _texts(concept))
        return next(own, None) or next(coded, None) or next(filter(None, named), None)

    def measured(self, name: str, said: str, value: Any, when: str) -> None:
        analyte, quantity = self.known.analytes[name], _table(value)
        amount = quantity.get("value") if isinstance(value, Mapping) else value
        trouble = "its value is not known"
        written = [*filter(None, (_text(quantity.get("code")), _text(quantity.get("unit"))))]
        for unit in dict.fromkeys(written or [""]):
            try:
                found = number_of({"value": amount, "unit": READ_UNITS.get(unit, unit)}, analyte, said)
            except Unreadable as error:
                trouble = str(error)
                continue
            if found is not None:
                self.put(name, found, when)
                return
        self.notes.append(f"{analyte.name}: {trouble}")

    def finding(self, concept: Any, there: bool, when: str, but: str = "") -> None:
        own = (code for system, code in _codes(concept) if system == f"{OURS}finding" and code in self.known.findings)
        named = filter(None, (self.reader.named(plain(text)) for text in _texts(concept)))
        found = next(((code, 1.0) for code in own), None) or next(named, None)
        if found is None or but:
            self.notes.append(f"{_said(concept)!r} {but or 'is nothing that is known here'}")
        else:
            self.put(found[0], found[1] if there else 1.0 - found[1], when)

    def put(self, name: str, value: float, when: str = "") -> None:
        """Note a fact, if none that is later is known."""
        before = self.facts.get(name)
        if before is not None and before[1] != value:
            self.notes.append(f"{self.known.called(name)} is given more than once: the latest counts")
        if before is None or when >= before[0]:
            self.facts[name] = (when, value)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _codes(concept: Any) -> Iterator[tuple[str, str]]:
    """System and code of each coding of a concept."""
    for one in map(_table, _list(_table(concept).get("coding"))):
        yield _text(one.get("system")), _text(one.get("code"))


def _code(concept: Any) -> str:
    return next((code for _, code in _codes(concept)), "")


def _texts(concept: Any) -> Iterator[str]:
    """What a concept is called: its text, and what each coding displays."""
    yield _text(_table(concept).get("text"))
    yield from (_text(_table(one).get("display")) for one in _list(_table(concept).get("coding")))


def _said(concept: Any) -> str:
    return next(filter(None, _texts(concept)), "") or _code(concept)


def _when(observation: Mapping[str, Any]) -> str:
    period = _table(observation.get("effectivePeriod"))
    return _text(observation.get("effectiveDateTime")) or _text(period.get("end")) or _text(period.get("start"))


def _years(born: str, now: str) -> float | None:
    """The years between two dates of FHIR, whole ones from two on; None where one of them is not given to the day."""
    try:
        first, last = date.fromisoformat(born[:10]), date.fromisoformat(now[:10])
    except ValueError:
        return None
    whole = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return float(whole) if whole >= 2 else (last - first).days / 365.25
