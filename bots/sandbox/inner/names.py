"""Decides whether a name in the test code means the solution's or the tests' own.

A test's helpers must be its own: otherwise a solution that defines `math` or `Counter` could cheat. What a test
checks must be the solution's: otherwise a solution that defines nothing would pass with the tests' own `gcd`.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterator


def solution_names(
    tree: ast.Module, own: Collection[str], testable: Collection[str], told: Collection[str] = ()
) -> set[str]:
    """The names in the test code that must be the solution's.

    own: names on the tests' side besides the built-ins: helpers, the prelude, what the task's prefix defines.
    testable: those of `own` that a task may nevertheless ask for, such as `gcd`.
    told: names that the task says the solution defines, even if the tests' side has them too.

    A name that is used but defined nowhere is the solution's. So is a name that the tests' side has too, if the tests
    call it in the place of the code under test, in an assertion that names nothing else of the solution's.
    """
    used, bound = _used_and_bound(tree)
    told_here = used & set(told)
    built_in = set(dir(builtins))
    missing = used - bound - built_in - set(own)
    certain = missing | told_here
    shared = used & set(testable) - bound - told_here
    tested = _tested(tree, shared, certain, bound)
    if certain or tested:
        return certain | tested
    called = {node.func.id for node in ast.walk(tree) if _is_call_of(node, shared)}  # type: ignore[attr-defined]
    if len(called) == 1:
        return called
    # A solution may have the name of a built-in (`sum`). In all other cases built-ins are not taken from it: its
    # `all` could always return True.
    return _tested_builtin(tree, used & built_in - bound)


def caught_names(tree: ast.Module, names: Collection[str]) -> set[str]:
    """Those of `names` that the tests catch, raise or expect as exceptions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=ast.expr() as kind):
                found |= _names(kind)
            case ast.Raise(exc=ast.expr() as kind):
                found |= _names(kind.func if isinstance(kind, ast.Call) else kind)
            case ast.Call(
                func=ast.Attribute(attr="raises" | "assertRaises" | "assertRaisesRegex" | "suppress")
            ):
                found |= {name for argument in node.args[:1] for name in _names(argument)}
            case ast.Call(func=ast.Name(id="suppress")):
                found |= {name for argument in node.args for name in _names(argument)}
    return found & set(names)


def _used_and_bound(tree: ast.Module) -> tuple[set[str], set[str]]:
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.arg(arg=name):
                bound.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                bound.update((alias.asname or alias.name).split(".")[0] for alias in aliases)
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                bound.add(name)
    return used, bound


def _tested(
    tree: ast.Module, shared: Collection[str], certain: Collection[str], bound: Collection[str]
) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assert(test=claim):
                found |= _claimed(claim, shared, certain)
            case ast.Call(func=ast.Attribute(attr=name), args=[claim, *_]) if name.startswith("assert"):
                found |= _claimed(claim, shared, certain)
            # check(gcd): passed to one of the tests' own functions
            case ast.Call(func=ast.Name(id=function), args=args) if function in bound:
                found |= {arg.id for arg in args if isinstance(arg, ast.Name) and arg.id in shared}
    return found


def _claimed(claim: ast.expr, shared: Collection[str], certain: Collection[str]) -> set[str]:
    """The names under test in one assertion."""
    if isinstance(claim, ast.BoolOp):
        return {name for part in claim.values for name in _claimed(part, shared, certain)}
    if isinstance(claim, ast.UnaryOp):
        return _claimed(claim.operand, shared, certain)
    if _names(claim) & set(certain):
        return set()  # Counter(f("aab")) == …: f is under test, Counter only inspects its result
    sides = [claim.left, *claim.comparators] if isinstance(claim, ast.Compare) else [claim]
    for side in sides:
        if calls := list(_outermost_calls(side, shared)):
            return set(calls)
    return set()


def _outermost_calls(node: ast.AST, shared: Collection[str]) -> Iterator[str]:
    if _is_call_of(node, shared):
        yield node.func.id  # type: ignore[attr-defined]
        return
    for child in ast.iter_child_nodes(node):
        yield from _outermost_calls(child, shared)


def _tested_builtin(tree: ast.Module, used: Collection[str]) -> set[str]:
    for node in ast.walk(tree):  # check(sum)
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="check"), args=[ast.Name(id=name)])) if (
                name in used
            ):
                return {name}
    for node in ast.walk(tree):  # _deep_eq(sum(*i), o)
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Starred()]) if name in used:
                return {name}
    for node in ast.walk(tree):  # assert sum([1, 2]) == 3
        match node:
            case ast.Assert(test=ast.Compare(left=ast.Call(func=ast.Name(id=name)))) if name in used:
                return {name}
    return set()


def _is_call_of(node: ast.AST, names: Collection[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
