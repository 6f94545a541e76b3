"""What an operation of the `grammar` computes inside: its sub-expressions with their values, in Python's own order.

The grammar's templates are compiled for it, once each, with a note at every sub-expression. They are this room's own
constants; what anybody else wrote is never compiled.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, count
from string import Formatter
from types import CodeType
from typing import Any

PLAIN = (bool, int, str, list, tuple, dict)
LEAVES = (ast.Name, ast.Constant, ast.Attribute, ast.Slice, ast.Starred)  # a name, a constant, or no value of its own
DISPLAYS = (ast.List, ast.Tuple, ast.Dict)  # they say what they are
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Step = tuple[str, Any]  # what is computed, and its value


def inside(template: str, arguments: Sequence[Any], values: Iterable[Any]) -> list[Step]:
    """Every sub-expression of a template that has a plain value, but not the whole of it.

    Before a sum of more than two its running totals are told, as `accumulate(...)`.

    Args:
        template: of an operation.
        arguments: what stands in its fields.
        values: theirs.
    """
    code, texts, fields = _noted(template)
    steps: list[Step] = []

    def note(place: int, value: Any) -> Any:
        if type(value) in PLAIN:
            steps.append((texts[place].format(*arguments), value))
        return value

    def totals(place: int, items: Iterable[Any]) -> list[Any]:
        terms = list(items)
        if len(terms) > 2:
            note(place, list(accumulate(terms)))
        return terms

    held = list(values)
    names = {f"field{number}": held[index] for number, index in enumerate(fields)}
    eval(code, {"note": note, "totals": totals} | names)  # noqa: S307 (a template of the grammar)
    return steps


def running(text: str, terms: Sequence[int]) -> list[Step]:
    """The running totals of a sum whose text is given, where they tell something."""
    return [(f"accumulate{text.removeprefix('sum')}", list(accumulate(terms)))] if len(terms) > 2 else []


@cache
def _noted(template: str) -> tuple[CodeType, list[str], list[int]]:
    """The template with its notes, compiled; each note's own template; which argument each field is."""
    source, fields, specs, numbers = "", list[int](), list[str](), count()
    for literal, name, spec, _ in Formatter().parse(template):
        source += literal
        if name is not None:
            source += f"field{len(fields)}"
            fields.append(int(name) if name else next(numbers))
            specs.append(spec or "")
    notes = _Notes(lambda text: _template(text, fields, specs))
    tree = ast.fix_missing_locations(ast.Expression(notes.whole(ast.parse(source, mode="eval").body)))
    return compile(tree, template, "eval"), notes.texts, fields


def _template(text: str, fields: Sequence[int], specs: Sequence[str]) -> str:
    """A text about field0, field1, ... as a template again."""
    escaped = text.replace("{", "{{").replace("}", "}}")
    return re.sub(r"field(\d+)", lambda found: f"{{{fields[int(found[1])]}:{specs[int(found[1])]}}}", escaped)


class _Notes(ast.NodeTransformer):
    """Puts a note at every sub-expression that is computed once."""

    def __init__(self, template: Callable[[str], str]) -> None:
        self.template, self.texts = template, list[str]()

    def whole(self, node: ast.expr) -> ast.expr:
        """The outermost one has no note of its own."""
        if isinstance(node, COMPREHENSIONS):  # its first source is computed once, everything else in each round
            first = node.generators[0]
            first.iter = self.visit(first.iter)
            return node
        summed = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sum"
        if summed and isinstance(node, ast.Call) and len(node.args) == 1:
            text = ast.unparse(ast.Call(ast.Name("accumulate"), node.args, []))
            node.args = [self.call("totals", text, self.visit(node.args[0]))]
            return node
        self.generic_visit(node)
        return node

    def visit(self, node: ast.AST) -> Any:
        """A sub-expression, with its note."""
        if not isinstance(node, ast.expr) or isinstance(node, LEAVES + DISPLAYS) or _is_constant(node):
            return self.generic_visit(node)
        text = ast.unparse(node)
        return self.call("note", text, self.whole(node))

    def call(self, function: str, text: str, value: ast.expr) -> ast.expr:
        """A call that notes a value, and gives it."""
        self.texts.append(self.template(text))
        place = ast.Constant(len(self.texts) - 1)
        return ast.Call(ast.Name(function, ast.Load()), [place, value], [])


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
