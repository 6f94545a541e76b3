"""How complex a program is, in numbers that are known: radon's, and the size of the syntax tree."""

from __future__ import annotations

from .normal import form, syntax


def complexity(program: str) -> dict[str, float]:
    """Measure a program.

    Returns:
        ast_nodes: size of the syntax tree, docstrings left out. cyclomatic: McCabe's number, summed over functions and
        what stands outside them (1976). halstead_volume, halstead_difficulty: Halstead's measures (1977). Of a tree
        that is too deep for radon there is the size alone.
    """
    from radon.metrics import h_visit_ast
    from radon.visitors import ComplexityVisitor

    measured = {"ast_nodes": float(form(program).nodes)}
    try:
        tree = syntax(program)
        halstead = h_visit_ast(tree).total
        measured["cyclomatic"] = float(ComplexityVisitor.from_ast(tree).total_complexity)
        measured["halstead_volume"] = float(halstead.volume)
        measured["halstead_difficulty"] = float(halstead.difficulty)
    except RecursionError:
        pass
    return measured
