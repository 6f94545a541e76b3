"""Idle parameters: whoever is called idle is idle. A false alarm would refuse an honest task, so most tests hunt those."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from azr_gym.code import flow, generate
from azr_gym.code.flow import idle_parameters


def idle(source: str) -> list[str]:
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return idle_parameters(functions[-1])


# Each program stands for a way in which a parameter reaches the result.
REACHED = {
    "walrus": 'def f(a, b):\n    if (n := len(a)) > 3:\n        return n\n    return b',
    "walrus_only": 'def f(a):\n    print(y := a)\n    return y',
    "walrus_in_comp": 'def f(a, xs):\n    t = 0\n    ys = [t := t + x + a for x in xs]\n    return t',
    "match": "def f(a):\n    match a:\n        case [x, *rest]:\n            return x\n        case {'k': v, **more}:\n            return more\n        case _:\n            return 0",
    "match_rest": "def f(a):\n    r = {}\n    match a:\n        case {'k': _, **r}:\n            pass\n    return r",
    "match_capture": 'def f(a):\n    z = 0\n    match a:\n        case [z, _]:\n            pass\n    return z',
    "match_guard": 'def f(a, b):\n    match a:\n        case x if x > b:\n            return 1\n    return 2',
    "try": 'def f(a, b):\n    try:\n        return a // b\n    except ZeroDivisionError:\n        return 0',
    "try_value": 'def f(a, b):\n    r = 1\n    try:\n        a[b]\n    except Exception:\n        r = 2\n    return r',
    "try_else": 'def f(a, b):\n    r = 1\n    try:\n        a[b]\n    except Exception:\n        pass\n    else:\n        r = 2\n    return r',
    "try_finally": 'def f(a):\n    r = []\n    try:\n        r.append(1)\n    finally:\n        r.append(a)\n    return r',
    "except_as": "def f(a):\n    m = ''\n    try:\n        int(a)\n    except ValueError as e:\n        m = str(e)\n    return m",
    "try_suite_nested_fail": 'def f(a):\n    try:\n        if True:\n            int(a)\n        return 1\n    except ValueError:\n        return 2',
    "raise_unhandled": 'def f(a, b):\n    if b:\n        raise ValueError\n    return a',
    "assert": 'def f(a, b):\n    assert b\n    return a',
    "nested": 'def f(a, b):\n    def g(x):\n        return x + b\n    return g(a)',
    "closure_write": 'def f(a, b):\n    out = []\n    def g():\n        out.append(b)\n    g()\n    return out + a',
    "closure_nonlocal": 'def f(a):\n    n = 0\n    def g():\n        nonlocal n\n        n = a\n    g()\n    return n',
    "closure_nonlocal_2": 'def f(a, b):\n    n = 0\n    def g(k):\n        nonlocal n\n        n += k\n    g(a)\n    g(b)\n    return n',
    "closure_arg": 'def f(a):\n    out = []\n    def g(k):\n        out.append(k)\n    g(a)\n    return out',
    "closure_loop": 'def f(xs):\n    out = []\n    def g(k):\n        out.append(k)\n    for x in xs:\n        g(x)\n    return out',
    "closure_count": 'def f(xs):\n    out = []\n    def g():\n        out.append(1)\n    for x in xs:\n        g()\n    return out',
    "closure_conditional": 'def f(x):\n    out = []\n    def g():\n        out.append(1)\n    if x:\n        g()\n    return out',
    "lambda_default": 'def f(a, b):\n    g = lambda x, y=b: x + y\n    return g(a)',
    "lambda_closure": 'def f(a, b):\n    g = lambda x: x + b\n    return g(a)',
    "lambda_mutate": 'def f(a):\n    out = []\n    g = lambda: out.append(a)\n    g()\n    return out',
    "def_default": 'def f(a, b):\n    def g(x, y=b):\n        return x + y\n    return g(a)',
    "decorator": 'def f(a, b):\n    def d(fn):\n        return lambda x: fn(x) + b\n    @d\n    def g(x):\n        return x\n    return g(a)',
    "comp_scope": 'def f(a, b):\n    return [x for x in a if x in b]',
    "global": 'g = 0\ndef f(a):\n    global g\n    g = a\n    return g',
    "global_through_helper": 'g = 0\ndef h():\n    return g\ndef f(a):\n    global g\n    g = a\n    return h()',
    "global_list_helper": 'g = []\ndef h():\n    return g[-1]\ndef f(a):\n    g.append(a)\n    return h()',
    "global_subscript": "g = {}\ndef h():\n    return g['k']\ndef f(a):\n    g['k'] = a\n    return h()",
    "global_attr": 'class C:\n    v = 0\ndef h():\n    return C.v\ndef f(a):\n    C.v = a\n    return h()',
    "global_for": 'g = 0\ndef h():\n    return g\ndef f(a):\n    global g\n    for g in a:\n        pass\n    return h()',
    "global_aug": 'g = 0\ndef h():\n    return g\ndef f(a):\n    global g\n    g += a\n    return h()',
    "global_cond": 'g = 0\ndef h():\n    return g\ndef f(a):\n    global g\n    if a:\n        g = 1\n    return h()',
    "nested_global": 'g = 0\ndef h():\n    return g\ndef f(a):\n    def s(v):\n        global g\n        g = v\n    s(a)\n    return h()',
    "yield": 'def f(a, b):\n    yield a\n    yield b',
    "yield_from": 'def f(a):\n    yield from a',
    "yield_cond": 'def f(a):\n    for _ in range(3):\n        if a:\n            yield 1',
    "yield_while": 'def f(n):\n    while n:\n        n -= 1\n        yield 1',
    "del": 'def f(a, b):\n    d = dict(a)\n    del d[b]\n    return d',
    "del_slice": 'def f(a, n):\n    del a[:n]\n    return a',
    "with": 'def f(a):\n    import contextlib\n    out = []\n    with contextlib.nullcontext(a) as x:\n        out.append(x)\n    return out',
    "with_suppress": 'def f(a):\n    import contextlib\n    r = 1\n    with contextlib.suppress(ValueError):\n        int(a)\n        r = 2\n    return r',
    "star": 'def f(*args, **kw):\n    return args, kw',
    "kwonly": 'def f(a, *, b):\n    return a + b',
    "aug_subscript": 'def f(a, i, v):\n    a[i] += v\n    return a',
    "subscript_alias": 'def f(a, v):\n    b = a\n    b[0] = v\n    return a',
    "alias_append": 'def f(v):\n    a = []\n    b = a\n    b.append(v)\n    return a',
    "alias_nested": "def f(v):\n    a = {}\n    b = a.setdefault('k', [])\n    b.append(v)\n    return a",
    "alias_in_list": 'def f(v):\n    a = [[]]\n    for row in a:\n        row.append(v)\n    return a',
    "alias_tuple": 'def f(v):\n    a = []\n    b = (a, 1)\n    b[0].append(v)\n    return a',
    "alias_sub_assign": 'def f(v):\n    a = [0]\n    b = [a]\n    b[0][0] = v\n    return a',
    "alias_aug": 'def f(v):\n    a = []\n    b = a\n    b += v\n    return a',
    "alias_del": 'def f(v):\n    a = [1,2,3]\n    b = a\n    del b[v]\n    return a',
    "alias_for_target": 'def f(v):\n    a = [0]\n    b = a\n    for b[0] in v:\n        pass\n    return a',
    "alias_match": 'def f(v):\n    a = [[]]\n    match a:\n        case [x]:\n            x.append(v)\n    return a',
    "alias_walrus": 'def f(v):\n    a = []\n    (b := a).append(v)\n    return a',
    "alias_with": 'def f(v):\n    import contextlib\n    a = []\n    with contextlib.nullcontext(a) as b:\n        b.append(v)\n    return a',
    "alias_comp": 'def f(v):\n    a = [[]]\n    [r.append(v) for r in a]\n    return a',
    "alias_bound_method": 'def f(v):\n    a = []\n    add = a.append\n    add(v)\n    return a',
    "alias_closure": 'def f(v):\n    a = []\n    def g():\n        return a\n    g().append(v)\n    return a',
    "early_return_in_loop": 'def f(xs, t):\n    for i, x in enumerate(xs):\n        if x == t:\n            return i\n    return -1',
    "break": 'def f(xs, t):\n    n = 0\n    for x in xs:\n        if x == t:\n            break\n        n += 1\n    return n',
    "break_cond_before": 'def f(t):\n    n = 0\n    while True:\n        n += 1\n        if n > t:\n            break\n    return n',
    "continue": 'def f(t):\n    n = 0\n    for i in range(9):\n        if i < t:\n            continue\n        n += 1\n    return n',
    "while_else": "def f(n, t):\n    i = 0\n    while i < n:\n        if i == t:\n            break\n        i += 1\n    else:\n        return 'no'\n    return 'yes'",
    "while_counter": 'def f(n):\n    c = 0\n    while n > 1:\n        n //= 2\n        c += 1\n    return c',
    "loop_count_only": 'def f(xs):\n    c = 0\n    for _ in xs:\n        c += 1\n    return c',
    "implicit": 'def f(a, b):\n    if b:\n        return a',
    "conditional_expr": 'def f(a, b, c):\n    return a if b else c',
    "loop_carried": 'def f(a, b):\n    x = y = 0\n    for _ in range(2):\n        y = x\n        x = b\n    return y + a',
    "star_unpack": 'def f(a):\n    x, *y = a\n    return y',
    "class": 'def f(a, b):\n    class C:\n        def go(self):\n            return b\n    return C().go() + a',
    "class_attr": 'def f(a):\n    class C:\n        pass\n    c = C()\n    c.x = a\n    return c.x',
    "class_base_self": 'def f(a):\n    class C:\n        def __init__(self, v):\n            self.v = v\n    return C(a).v',
    "setattr": "def f(a):\n    class C: pass\n    c = C()\n    setattr(c, 'x', a)\n    return c.x",
    "locals": 'def f(a, b):\n    return locals()',
    "vars": 'def f(a, b):\n    return vars()',
    "locals_2": 'def f(a, b):\n    return sum(locals().values())',
    "eval": "def f(a, b):\n    return eval('a+b')",
    "dir": 'def f(a, b):\n    return dir()',
    "fstring": "def f(a, b):\n    return f'{a:{b}}'",
    "import_as": 'def f(a):\n    import math as m\n    return m.sqrt(a)',
    "try_star": 'def f(a):\n    r = 0\n    try:\n        int(a)\n    except* ValueError:\n        r = 1\n    return r',
    "await": 'async def f(a):\n    return a',
    "lambda_call": 'def f(a):\n    return (lambda: a)()',
    "recursion": 'def f(n, acc):\n    if n == 0:\n        return acc\n    return f(n - 1, acc + n)',
    "recursion_idle": 'def f(n, k):\n    if n == 0:\n        return 0\n    return f(n - 1, k)',
    "generator_lazy": 'def f(a):\n    g = (x for x in a)\n    return list(g)',
    "sorted_key_nonlocal": 'def f(xs, k):\n    return sorted(xs, key=lambda x: x % k)',
    "iter_next": 'def f(xs):\n    it = iter(xs)\n    next(it)\n    return next(it)',
    "short_circuit": 'def f(a, b):\n    out = []\n    b and out.append(1)\n    return out + a',
    "ifexp_call": 'def f(a, b):\n    out = []\n    out.append(1) if b else None\n    return out + a',
    "assert_in_helper": 'def f(a, b):\n    def g():\n        assert b\n    g()\n    return a',
    "raise_by_index": 'def f(a, b):\n    try:\n        for i in range(3):\n            a[b + i]\n    except IndexError:\n        return i\n    return -1',
    "return_in_finally": 'def f(a):\n    try:\n        pass\n    finally:\n        return a',
    "ann_assign": 'def f(a):\n    x: int = a\n    return x',
    "type_alias": 'def f(a):\n    x = y = a\n    return y',
    "exit_via_loop_else": 'def f(a, b):\n    for x in a:\n        if x == b:\n            break\n    else:\n        return 0\n    return 1',
    "while_cond_with_side": 'def f(a):\n    out = []\n    while a and (out.append(a.pop()) or True):\n        pass\n    return out',
    "stop_iteration": 'def f(n):\n    it = iter(range(5))\n    for _ in range(n):\n        next(it)\n    return list(it)',
    "loop_pop": 'def f(n):\n    xs = [1,2,3]\n    for _ in range(n):\n        xs.pop()\n    return xs',
    "default_mutable": 'def f(a, seen=[]):\n    seen.append(a)\n    return len(seen)',
    "lambda_assigned_to_dict": "def f(a, b):\n    ops = {'x': lambda: b}\n    return ops[a]()",
    "partial": 'def f(a, b):\n    from functools import partial\n    g = partial(max, b)\n    return g(a)',
    "reassign_inner_func": 'def f(a):\n    def g():\n        return 1\n    h = g\n    def g():\n        return a\n    return g()',
    "def_conditional": 'def f(a):\n    if a:\n        def g():\n            return 1\n    else:\n        def g():\n            return 2\n    return g()',
    "class_conditional": 'def f(a):\n    if a:\n        class C:\n            x = 1\n    else:\n        class C:\n            x = 2\n    return C.x',
    "import_conditional": 'def f(a):\n    if a:\n        from math import sin as g\n    else:\n        from math import cos as g\n    return g(0)',
    "except_binding_cond": "def f(a):\n    r = ''\n    try:\n        [][a]\n    except IndexError as e:\n        r = 'i'\n    except TypeError as e:\n        r = 't'\n    return r",
    "nested_loops_flag": 'def f(g, t):\n    found = False\n    for row in g:\n        for c in row:\n            if c == t:\n                found = True\n    return found',
    "comp_side_effect_on_outer": 'def f(n):\n    out = []\n    [out.append(i) for i in range(n)]\n    return out',
    "comp_cond": 'def f(a, b):\n    return {k: v for k, v in a.items() if k != b}',
    "dunder": 'def f(a):\n    o = []\n    o.__iadd__([a])\n    return o',
    "alias_through_return_of_inner": "def f(a):\n    store = {}\n    def put(k, v):\n        store[k] = v\n    put('x', a)\n    return store",
    "alias_through_zip": 'def f(v):\n    a, b = [], []\n    for t in (a, b):\n        t.append(v)\n    return a',
    "alias_through_comp_var": 'def f(v):\n    a = []\n    for t in [x for x in [a]]:\n        t.append(v)\n    return a',
    "attr_chain_alias": 'def f(v):\n    class N: pass\n    n = N()\n    n.kids = []\n    k = n.kids\n    k.append(v)\n    return n.kids',
    "linked_list": 'def f(v):\n    root = {}\n    node = root\n    for ch in v:\n        node = node.setdefault(ch, {})\n    return root',
    "trie": 'def f(words):\n    root = {}\n    for w in words:\n        node = root\n        for ch in w:\n            if ch not in node:\n                node[ch] = {}\n            node = node[ch]\n    return root',
    "heap": 'def f(xs):\n    import heapq\n    h = []\n    for x in xs:\n        heapq.heappush(h, x)\n    return [heapq.heappop(h) for _ in range(len(h))]',
    "raise_inner": 'def f(a):\n    def g():\n        raise ValueError\n    r = 1\n    try:\n        if a: g()\n    except ValueError:\n        r = 2\n    return r',
    "return_const_under_cond": 'def f(a):\n    if a:\n        return 1\n    return 2',
    "return_const_under_while": 'def f(a):\n    while a:\n        return 1\n    return 2',
    "return_const_under_for": 'def f(a):\n    for _ in a:\n        return 1\n    return 2',
    "return_const_under_with": 'def f(a):\n    with a:\n        return 1',
    "return_const_in_try_handler": 'def f(a):\n    try:\n        x = 1 / a\n    except ZeroDivisionError:\n        return 1\n    return 2',
    "return_const_in_case": 'def f(a):\n    match a:\n        case 1: return 1\n        case _: return 2',
    "aug_name_alias": 'def f(v):\n    a = []\n    def g():\n        return a\n    b = g()\n    b += [v]\n    return a',
    "exec_order": 'def f(v):\n    a = [0]\n    a[0], b = v, 1\n    return a',
    "starred_target": 'def f(v):\n    a = [0, 0]\n    [a[0], *rest] = v\n    return a',
}  # fmt: skip

IDLE = {
    "plain": ('def f(a, b):\n    return a', ['b']),
    "star_idle": ('def f(a, *args):\n    return a', ['args']),
    "infinite": ('def f(a, b):\n    while b:\n        pass\n    return a', ['b']),
    "no_return": ('def f(a):\n    a.sort()', ['a']),
    "del_name": ('def f(a, b):\n    del b\n    return a', ['b']),
    "unused_assign": ('def f(a, b):\n    c = b\n    return a', ['b']),
    "unused_chain": ('def f(a, b):\n    c = b + 1\n    d = c * 2\n    return a', ['b']),
    "nested_return_does_not_count": ('def f(a, b):\n    def g():\n        return b\n    return a', ['b']),
    "raise_by_call": ('def f(a, b):\n    int(b)\n    return a', ['b']),
}  # fmt: skip


@pytest.mark.parametrize("name", REACHED)
def test_a_used_parameter_is_never_called_idle(name: str) -> None:
    assert idle(REACHED[name]) == []


@pytest.mark.parametrize("name", IDLE)
def test_an_unused_parameter_is_called_idle(name: str) -> None:
    source, expected = IDLE[name]
    assert idle(source) == expected


@pytest.mark.parametrize("level", generate.LEVELS)
@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_generated_programs_use_all_their_parameters(level: int, split: generate.Split) -> None:
    rng = np.random.default_rng(level)
    for _ in range(60):
        source = generate.sample(rng, level=level, split=split).source
        assert idle(source) == [], source


def test_a_long_program_is_looked_at_in_bounded_time() -> None:
    lines = [f"    a{i} = a{i - 1}\n    a{i}.append(x)" for i in range(1, 60)]
    source = "def f(x, y):\n    a0 = []\n" + "\n".join(lines) + "\n    return a0"
    assert len(source) < 8_000
    assert idle(source) == ["y"]


def test_deep_nesting_is_looked_at_without_recursion_errors() -> None:
    source = "def f(x, y):\n    n = 0\n"
    source += "".join("    " + " " * depth + f"while x > {depth}:\n" for depth in range(18))
    assert idle(source + "    " + " " * 18 + "n += 1\n    return n") == ["y"]


NAMES = ["v0", "v1", "v2"]


def expression(dice: random.Random, depth: int = 0) -> str:
    """An expression over the parameters a, b and the variables, which share objects wherever they can."""
    name = dice.choice(["a", "b", *NAMES])
    if depth > 2 or dice.random() < 0.35:
        return name
    one, two, three = (expression(dice, depth + 1) for _ in range(3))
    forms = [f"[{one}, {two}]", f"({one},)", f"(lambda: {one})()", f"({one} if {two} else {three})", f"[z for z in ({one}, {name})]",
             f"len(str({one}))", f"{{0: {one}}}.get(0)"]  # fmt: skip
    return dice.choice(forms)


def block(dice: random.Random, depth: int = 0) -> list[str]:
    """Statements that assign, change in place, loop, leave early, fail, and call closures."""
    lines: list[str] = []
    for _ in range(dice.randint(1, 4)):
        name, one, two = dice.choice(NAMES), expression(dice), expression(dice)
        inner = ["    " + line for line in block(dice, depth + 1)] if depth < 2 else ["    pass"]
        forms = [
            [f"{name} = {one}"],
            [f"if isinstance({name}, list): {name}.append({one})"],
            [f"if isinstance({name}, list) and {name}: {name}[0] = {one}"],
            [f"if isinstance({name}, list): {name} += [{one}]"],
            [f"for w in [{one}, {name}]:", f"    if isinstance(w, list): w.append({two}); break"],
            [f"if {one}:", *inner],
            [f"for k{depth} in range(len(str({one})) % 4):", *inner, f"    if {two}: break"],
            [f"def h(y):\n    nonlocal {name}\n    {name} = y", f"h({one})"],
            [f"def h(y):\n    if isinstance({name}, list): {name}.append(y)\n    return {name}", f"v2 = h({one})"],
            ["try:", *inner, f"    [][len(str({one})) - 1]", "except IndexError:", f"    {name} = {two}"],
            [f"(v0 := {one})"],
            [f"if {one}: return {two}"],
        ]
        lines += [line for form in dice.choice(forms) for line in form.split("\n")]
    return lines


def outcome(function: Callable[..., object], arguments: list[Any]) -> str | None:
    """What a call gives, as text; None where it fails, or gives a function, whose text has an address in it."""
    try:
        text = repr(function(*copy.deepcopy(arguments)))
        ast.parse(text)
    except Exception:
        return None
    return text


@pytest.mark.parametrize("seed", range(8))
def test_changing_what_is_idle_never_changes_the_result(seed: int) -> None:
    dice, values, tried = random.Random(seed), [0, 1, [], [1], [[], 2], "", "ab", 12345], 0
    for _ in range(60):
        lines = ["v0 = []; v1 = [v0]; v2 = 0", *block(dice), f"return {dice.choice(NAMES)}"]
        source = "def f(a, b):\n" + "\n".join("    " + line for line in lines)
        scope: dict[str, Any] = {}
        try:
            exec(source, scope)
        except SyntaxError:  # a nonlocal name, twice
            continue
        for name in idle(source):
            for _ in range(10):
                arguments: list[Any] = [dice.choice(values), dice.choice(values)]
                before = outcome(scope["f"], arguments)
                arguments["ab".index(name)] = dice.choice(values)
                after = outcome(scope["f"], arguments)
                assert None in (before, after) or before == after, source
                tried += before is not None
    assert tried > 50


@pytest.mark.parametrize("seed", range(4))
def test_the_quick_look_finds_no_more_than_the_whole_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice, rng = random.Random(seed), np.random.default_rng(seed)
    sources = [generate.sample(rng, level=1 + number % 5).source for number in range(100)]
    for _ in range(100):
        lines = [*block(dice), f"return {dice.choice(NAMES)}"]
        sources.append("def f(a, b):\n" + "\n".join("    " + line for line in lines))
    quick = [idle(source) for source in sources]
    monkeypatch.setattr(flow, "_given_back", lambda function: set())
    assert [idle(source) for source in sources] == quick


def test_with_very_many_names_each_is_said_to_reach() -> None:
    names = ",".join(chr(0x4E00 + number) for number in range(600))
    calls = "x(" * 80 + names + ")" * 80
    assert idle(f"def f(x, y):\n for {names} in x:{calls}\n return x") == []
