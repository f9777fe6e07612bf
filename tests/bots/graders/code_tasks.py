"""Code tasks with right and wrong solutions, in every format that GURU and its sources have."""

import json
from typing import Any

# name, arguments and results, a right body, a wrong body
_Function = tuple[str, list[tuple[list[Any], Any]], str, str]
FUNCTIONS: list[_Function] = [
    ("add", [([1, 2], 3), ([-1, 1], 0), ([10**20, 1], 10**20 + 1)], "return a + b", "return a - b"),
    ("mean", [([1, 2], 1.5), ([0, 1], 0.5), ([1, 1], 1.0)], "return (a + b) / 2", "return (a + b) // 2"),
    ("third", [([1, 3], 1 / 3), ([2, 3], 2 / 3)], "return a / b", "return round(a / b, 2)"),
    ("bigger", [([1, 2], True), ([2, 1], False)], "return b > a", "return True"),
    ("word", [(["a", 3], "aaa"), (["xy", 0], "")], "return a * b", "return a"),
    ("pair", [([1, 2], [2, 1]), ([0, 0], [0, 0])], "return [b, a]", "return [a, b]"),
    ("twins", [([1, 2], [1, 2])], "return (a, b)", "return (a, a)"),
    ("nested", [([1, 2], [[1], [2, 1]])], "return [[a], [b, a]]", "return [[a], [b]]"),
    (
        "count",
        [(["ab", "aab"], {"a": 2, "b": 1})],
        "return {c: b.count(c) for c in a}",
        "return dict.fromkeys(a, 1)",
    ),
    ("nothing", [([1, 2], None)], "return None", "return 0"),
    ("text", [(['say "hi"\n', "é"], 'é: say "hi"\n')], "return f'{b}: {a}'", "return a + b"),
    (
        "sort",
        [([[3, 1, 2], True], [3, 2, 1]), ([[], False], [])],
        "return sorted(a, reverse=b)",
        "return sorted(a)",
    ),
    ("max", [([1, 2], 2), ([5, 3], 5)], "return a if a > b else b", "return b"),
]


def _plain(name: str, body: str) -> str:
    return f"def {name}(a, b):\n    {body}"


def _leetcode(name: str, body: str) -> str:
    return f"class Solution:\n    def {name}(self, a, b):\n        {body}"


def _asserts(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    lines = [f"assert {name}({', '.join(map(repr, args))}) == {result!r}" for args, result in cases]
    return json.dumps({"functional": "\n".join(lines)})


def _leetcode_check(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    lines = [f"    assert candidate(a = {a!r},b = {b!r}) == {result!r}" for (a, b), result in cases]
    return json.dumps(
        {"functional": "def check(candidate):\n" + "\n".join(lines) + f"\n\n\ncheck(Solution().{name})"}
    )


def _livecodebench(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    lines = [f"    assert Solution().{name}({a!r}, {b!r}) == {result!r}" for (a, b), result in cases]
    return json.dumps({"functional": f"def check_{name}():\n" + "\n".join(lines) + f"\n\ncheck_{name}()\n"})


def _guru_loop(name: str, cases: list[tuple[list[Any], Any]], expected: str, outputs: list[Any]) -> str:
    return json.dumps(
        {
            "functional": f"""\
_inputs = {[args for args, _ in cases]}
_outputs = {outputs}
import math
def _deep_eq(a, b, tol=1e-5):
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=tol, abs_tol=tol)
    if isinstance(a, (list, tuple)):
        if len(a) != len(b): return False
        return all(_deep_eq(x, y, tol) for x, y in zip(a, b))
    return a == b

for i, o in zip(_inputs, _outputs):
    assert _deep_eq({name}(*i), {expected})
"""
        }
    )


def _primeintellect(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    return _guru_loop(name, cases, "o[0] if len(o) == 1 else tuple(o)", [[result] for _, result in cases])


def _taco(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    return _guru_loop(name, cases, "o[0]", [[result] for _, result in cases])


def _taco_raw(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    inputs, outputs = [args for args, _ in cases], [[result] for _, result in cases]
    return json.dumps({"fn_name": name, "inputs": inputs, "outputs": outputs})


def _primeintellect_raw(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    return json.dumps(
        [
            {"type": "function_call", "fn_name": name, "input": args, "output": [result]}
            for args, result in cases
        ]
    )


def _livecodebench_raw(name: str, cases: list[tuple[list[Any], Any]]) -> str:
    return json.dumps(
        [
            {"testtype": "functional", "input": "\n".join(map(json.dumps, args)), "output": json.dumps(result),
             "metadata": {"func_name": name}}
            for args, result in cases
        ]
    )  # fmt: skip


FORMATS = {
    "asserts": (_asserts, _plain),
    "leetcode": (_leetcode_check, _leetcode),
    "livecodebench": (_livecodebench, _leetcode),
    "primeintellect": (_primeintellect, _plain),
    "taco": (_taco, _plain),
    "taco_raw": (_taco_raw, _plain),
    "taco_raw_method": (_taco_raw, _leetcode),
    "primeintellect_raw": (_primeintellect_raw, _plain),
    "livecodebench_raw": (_livecodebench_raw, _leetcode),
}

# standard input and output: inputs, outputs, right programs, wrong programs
SCRIPTS: list[tuple[list[str], list[str], list[str], list[str]]] = [
    (["1 2\n", "5 5\n"], ["3\n", "10\n"],
     ["print(sum(map(int, input().split())))", "a, b = map(int, input().split())\nprint(a + b, '\\n')"],
     ["print(3)", "print(input())", "a, b = input().split()\nprint(a + b)", "", "print(3); print(10)", "1 / 0",
      "print(sum(map(int, input().split())), 'is the sum')", "print('3' if input() == '1 2' else '')"]),
    (["3\n1\n2\n3\n"], ["1\n4\n9\n"],
     ["for _ in range(int(input())):\n    print(int(input()) ** 2)", "print('1\\r\\n4\\r\\n9')",
      "print('1  \\n4\\n9\\n\\n')"],
     ["print('1 4 9')", "print('1\\n4')", "print('1\\n4\\n9\\n16')", "print('1\\n9\\n4')", "print('1\\n\\n4\\n9')"]),
    (["2"], ["1.41421356\n"],
     ["print(float(input()) ** .5)", "print('1.4142136')", "print('1.41421356e0')"],
     ["print(1.4142)", "print(2 ** .51)",
      "print('nan')", "print('inf')", "print('1.4142135623 x')", "print('1_4')"]),
    (["x"], ["YES\n"], ["print('YES')", "print('Yes')", "print('yes')"], ["print('NO')",
     "print('Y')", "print('YES!')"]),
    (["x"], ["100000000000000000000001\n"], ["print(10 ** 23 + 1)"], ["print(10 ** 23)", "print(1e23)"]),
    (["x"], ["007\n"], ["print('007')", "print(7)", "print('+7')"], ["print(70)", "print(-7)", "print('7.5')"]),
    (["x"], ["a B\n"], ["print('a B')", "print('a   B')"], ["print('a b')", "print('aB')", "print('B a')"]),
    (["x"], [""], ["pass", "print()"], ["print('x')"]),
]  # fmt: skip


def completion(source: str) -> str:
    return f"<think>```python\nprint('a draft')\n```</think>\nHere it is:\n```python\n{source}\n```\nThat is all."
