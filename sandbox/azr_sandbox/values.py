"""Plain data in and out: the only values that cross the walls of the box.

Plain data are None, bool, int, float, complex, str, bytes, and list, tuple, dict, set, frozenset of plain data,
by exact type: a subclass is not plain. Text becomes a value by `parse`, a value becomes text by `render`; neither
runs anything. `canonical` is for comparing and hashing. This file also runs inside the box, so it imports nothing
that costs time at start.
"""

from __future__ import annotations

from .errors import NotPlainData, TooLong

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

MAX_DEPTH = 64  # containers inside containers; Python's own parser stops at 200 brackets
SET_DEPTH = 8  # levels that a set inside a set counts for: packing one takes twice as long with each
MAX_CHARS = 1 << 20  # of rendered text
MAX_INT_BITS = 14_284  # below 10**4300: Python refuses to print or read integers of more than 4,300 digits

_TRUTH = {"True": True, "False": False}
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def render(value: object, max_chars: int = MAX_CHARS) -> str:
    """Write plain data as text that `parse` reads back: `equal(parse(render(v)), v)` always holds.

    Dicts keep their insertion order; sets are sorted, so that equal values of one order render alike. Floats that
    no Python literal can write are `inf`, `-inf` and `nan`; a complex number is `complex(1.0, 2.0)`.

    Args:
        value: plain data.
        max_chars: longest text, in characters.

    Raises:
        NotPlainData: the value is not plain data, is nested deeper than 64 containers, contains itself, holds an
            integer of more than 14,284 bits, or its text is longer than `max_chars`.
    """
    text = _render(value, max_chars, 0)
    if len(text) > max_chars:
        raise TooLong(f"the value's text is longer than {max_chars} characters")
    return text


def _render(value: object, room: int, depth: int) -> str:
    kind = type(value)
    if kind in _SCALARS:
        return _scalar(value, room)
    if kind is complex:
        return f"complex({value.real!r}, {value.imag!r})"  # type: ignore[attr-defined]
    if kind not in _CONTAINERS:
        raise NotPlainData(f"a value of type {kind.__name__} is not plain data{_hint(value)}")
    if depth >= MAX_DEPTH:
        raise NotPlainData(f"nested deeper than {MAX_DEPTH} containers, or containing itself")
    # Every element takes at least two characters, so a container can be refused before it is walked.
    if 2 * len(value) > room + 2:  # type: ignore[arg-type]
        raise TooLong("a container holds more elements than its text may have characters")
    if kind is dict:
        items = value.items()  # type: ignore[attr-defined]
        pairs, left = [], room
        for key, item in items:
            pairs.append(f"{_render(key, left, depth + 1)}: {_render(item, left, depth + 1)}")
            left = _spend(left, pairs[-1])
        return "{" + ", ".join(pairs) + "}"
    parts, left = [], room
    below = depth + (1 if kind is list or kind is tuple else SET_DEPTH)
    for item in value:  # type: ignore[attr-defined]
        parts.append(_render(item, left, below))
        left = _spend(left, parts[-1])
    if kind is list:
        return "[" + ", ".join(parts) + "]"
    if kind is tuple:
        return "(" + ", ".join(parts) + (",)" if len(parts) == 1 else ")")
    inner = "{" + ", ".join(sorted(parts)) + "}" if parts else ""
    return (inner or "set()") if kind is set else f"frozenset({inner})"


def _hint(value: object) -> str:
    return ": write value.tolist() or value.item()" if hasattr(type(value), "tolist") else ""


def check(value: object) -> None:
    """Raise as `render` does where the value is not plain data; cheap for small flat ones."""
    if type(value) is tuple and len(value) < 64 and all(map(_is_small, value)):
        return
    render(value)


def _is_small(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return value.bit_length() <= 64  # type: ignore[attr-defined, no-any-return]
    if kind is str or kind is bytes:
        return len(value) <= 1024  # type: ignore[arg-type]
    return value is None or kind is bool or kind is float


def _spend(room: int, part: str) -> int:
    room -= len(part) + 2
    if room < -2:
        raise TooLong("the value's text is too long")
    return room


def _scalar(value: object, room: int) -> str:
    if type(value) is int and value.bit_length() > MAX_INT_BITS:
        raise TooLong(f"an integer of more than {MAX_INT_BITS} bits")
    if type(value) in (str, bytes) and len(value) > room:  # type: ignore[arg-type]
        raise TooLong("a text of more characters than the limit")
    return repr(value)


def canonical(value: object) -> bytes:
    """Bytes that are equal exactly when the values are (`equal`): sorted, type-exact. For comparing and hashing only.

    Raises:
        NotPlainData: as `render`.
    """
    return _canonical(value, 0).encode("utf-8")


def _canonical(value: object, depth: int) -> str:
    kind = type(value)
    if kind is float:
        return repr(value + 0.0)  # type: ignore[operator]  # -0.0 == 0.0, so both must give the same bytes
    if kind in _SCALARS:
        return _scalar(value, MAX_CHARS)
    if kind is complex:
        return f"complex({value.real + 0.0!r},{value.imag + 0.0!r})"  # type: ignore[attr-defined]
    if kind not in _CONTAINERS:
        raise NotPlainData(f"a value of type {kind.__name__} is not plain data{_hint(value)}")
    if depth >= MAX_DEPTH:
        raise NotPlainData(f"nested deeper than {MAX_DEPTH} containers, or containing itself")
    if kind is dict:
        pairs = [
            f"{_canonical(key, depth + 1)}:{_canonical(item, depth + 1)}"
            for key, item in value.items()  # type: ignore[attr-defined]
        ]
        return "{" + ",".join(sorted(pairs)) + "}"
    parts = [_canonical(item, depth + 1) for item in value]  # type: ignore[attr-defined]
    if kind in (list, tuple):
        return ("[" if kind is list else "(") + ",".join(parts) + ("]" if kind is list else ")")
    return kind.__name__ + "{" + ",".join(sorted(parts)) + "}"


def equal(a: object, b: object) -> bool:
    """Whether two values are the same plain data: type-exact (1, 1.0 and True differ), nan equals nan.

    The order of a dict or set does not count, and -0.0 equals 0.0, as in Python.

    Raises:
        NotPlainData: as `render`.
    """
    return canonical(a) == canonical(b)


def parse(text: str, max_chars: int = MAX_CHARS) -> object:
    """Read plain data from text. Nothing is ever run: the text is read as data or refused.

    Reads Python literals, and `inf`, `nan`, `float('inf')`, `set()`, `frozenset({...})` and `complex(a, b)`.

    Raises:
        NotPlainData: the text is anything else, or is longer than `max_chars` characters.
    """
    if type(text) is not str:
        raise NotPlainData(f"text to parse must be a str, not {type(text).__name__}")
    if len(text) > max_chars:
        raise TooLong(f"the text is longer than {max_chars} characters")
    text = text.strip()
    simple = _simple(text)
    if simple is not None:
        return simple
    from . import quiet  # never needed inside the box, where it would cost every child time

    try:
        return _read(quiet.parse(text, "eval").body, 0)  # type: ignore[attr-defined]
    except NotPlainData:
        raise
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise NotPlainData(f"not plain data: {type(error).__name__}") from None


def _simple(text: str) -> object | None:
    """The commonest values, in a fifth of the time that Python's parser takes: short integers, plain texts, truth
    values, and flat lists of those, one list deep. None where the text is anything else."""
    digits = text.removeprefix("-")
    if digits.isdecimal():
        return int(text) if digits.isascii() and len(digits) < 19 and (digits[0] != "0" or digits == "0") else None
    if text[:1] == "'":
        plain = text[-1] == "'" and text.count("'") == 2 and "\\" not in text and text.isascii() and text.isprintable()
        return text[1:-1] if plain else None
    if text[:1] == "[" and text[-1] == "]" and text.count("[") < 3:
        inside = text[1:-1].strip(" \n")  # a comma in a text cuts that into parts that are nothing
        items = [_simple(part.strip(" \n")) for part in ([inside] if inside[:1] == "[" else inside.split(","))]
        return items if None not in items else None
    return _TRUTH.get(text)


def _read(node: ast.expr, depth: int) -> object:
    import ast

    if depth > MAX_DEPTH or (depth == MAX_DEPTH and isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict)):
        raise NotPlainData(f"nested deeper than {MAX_DEPTH} containers")
    match node:
        case ast.Constant(value=value) if type(value) in _SCALARS or type(value) is complex:
            if type(value) is int and value.bit_length() > MAX_INT_BITS:
                raise TooLong(f"an integer of more than {MAX_INT_BITS} bits")
            return value
        case ast.List(elts=items):
            return [_read(item, depth + 1) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_read(item, depth + 1) for item in items)
        case ast.Set(elts=items):
            return {_read(item, depth + SET_DEPTH) for item in items}
        case ast.Dict(keys=keys, values=items) if None not in keys:
            return {
                _read(key, depth + 1): _read(item, depth + 1)
                for key, item in zip(keys, items, strict=True)
                if key is not None
            }
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _number(_read(operand, depth + 1))
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=ast.Constant(value=complex() as imaginary)):
            real = _number(_read(left, depth + 1))
            if type(real) is complex:
                raise NotPlainData("sums are not data, but for a complex number's two parts")
            return real + imaginary if isinstance(sign, ast.Add) else real - imaginary
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _CALLS:
            return _CALLS[name](*(_read(argument, depth + 1) for argument in arguments))
    raise NotPlainData(_objection(node))


def _objection(node: ast.expr) -> str:
    import ast

    match node:
        case ast.Name(id="true" | "false" | "null" | "none" as name):
            return f"the name {name} is not plain data: Python writes True, False, None"
        case ast.Name(id=name):
            return f"the name {name[:40]} is not plain data: write the value itself, a text in quotes"
        case ast.BinOp() | ast.Call() | ast.Compare() | ast.ListComp() | ast.BoolOp():
            return "a calculation is not plain data: write its result"
    return f"{type(node).__name__} is not plain data"


def _number(value: object) -> int | float | complex:
    if type(value) is int or type(value) is float or type(value) is complex:
        return value
    raise NotPlainData(f"a sign before a {type(value).__name__} is not data")


def _read_set(*items: object) -> set[object]:
    if items:
        raise NotPlainData("a set that is not empty is written {1, 2}")
    return set()


def _read_frozenset(items: object = frozenset()) -> frozenset[object]:
    if type(items) not in (set, list, tuple, frozenset):
        raise NotPlainData("a frozenset is written frozenset({1, 2})")
    return frozenset(items)  # type: ignore[call-overload, no-any-return]


def _read_float(text: object) -> float:
    if type(text) is str and text.strip().lower() in ("inf", "-inf", "+inf", "infinity", "-infinity", "nan"):
        return float(text)
    raise NotPlainData("a float is written as a number, or float('inf'), float('nan')")


def _read_complex(real: object, imaginary: object) -> complex:
    if type(real) is float and type(imaginary) is float:
        return complex(real, imaginary)
    raise NotPlainData("a complex number is written complex(1.0, 2.0)")


_CALLS: dict[str, Callable[..., object]] = {
    "set": _read_set,
    "frozenset": _read_frozenset,
    "float": _read_float,
    "complex": _read_complex,
}
