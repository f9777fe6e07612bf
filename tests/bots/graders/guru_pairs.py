r"""Rows in the shapes that GURU's preparation writes, with completions that are right and completions that are not."""

import json
from typing import NamedTuple


class Row(NamedTuple):
    data_source: str
    prompt: str
    answer: str | float
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def _codeio(kind: str, value: str) -> tuple[str, str]:
    other = "output" if kind == "input" else "input"
    prompt = (
        f"Given the following {other}: …\nCan you predict the {kind} without writing any code? … ```json```"
    )
    return prompt, f'"{kind}": {value}'


def _fence(text: str, language: str = "json") -> str:
    return f"I think so.\n```{language}\n{text}\n```"


CODEIO = [
    Row(
        "simulation__codeio",
        *_codeio("output", '{"result": 42, "name": "Ada"}'),
        right=(
            _fence('{"output": {"result": 42, "name": "Ada"}}'),
            _fence('{"output": {"name": "Ada", "result": 42}}'),
            _fence('"output": {"result": 42, "name": "Ada"}'),
            _fence('{"result": 42, "name": "Ada"}'),
            _fence("{'result': 42, 'name': 'Ada'}"),
            '\\boxed{"output": {"result": 42, "name": "Ada"}}',
            '\\boxed{\\{"output": \\{"result": 42.0, "name": "Ada"\\}\\}}',
            'So it is "output": {"result": 42, "name": "Ada"}.',
            'Use ```json {"output": {"result": 42, "name": "Ada"}}```',
            "<think>"
            + _fence('{"output": 1}')
            + "</think>"
            + _fence('{"output": {"result": 42, "name": "Ada"}}'),
            _fence('{"output": 1}') + "\nNo:\n" + _fence('{"output": {"result": 42, "name": "Ada"}}'),
        ),
        wrong=(
            "",
            "42",
            _fence('{"output": {"result": 43, "name": "Ada"}}'),
            _fence('{"output": {"result": 42}}'),
            _fence('{"output": {"result": "42", "name": "Ada"}}'),
            _fence('{"output": 42}'),
            _fence('{"output": {"result": 42, "name": "ada"}}'),
            _fence('{"output": {"result": true, "name": "Ada"}}'),
            _fence('{"output": {"result": 42, "name": "Ada", "more": 1}}'),
            _fence('{"output": {"result": 41, "result": 42, "name": "Ada"}}'),
            _fence("{'output': {'result': 41, 'result': 42, 'name': 'Ada'}}"),
            _fence('{"output": {"result": 42, "name": "Ada"}}')
            + _fence('{"output": {"result": 1, "name": "Ada"}}'),
            '"output": {"result": 42, "name": "Ada"} or rather "output": {"result": 1}',
            '"output": {"result": 42, "name": "Ada"} or rather "output": unknown',
            '{"output": ' * 5000,
            "[" * 90_000,
            _fence("[" * 90_000),
            '\\boxed{{"output": ',
        ),
    ),
    Row(
        "simulation__codeio",
        *_codeio("output", "[1, 2.5, null]"),
        right=(_fence('{"output": [1, 2.5, null]}'), _fence("[1, 2.50, None]"), "\\boxed{[1, 2.5, null]}"),
        wrong=(
            _fence('{"output": [2.5, 1, null]}'),
            _fence('{"output": [1, 2.5]}'),
            _fence('{"output": [1, 2.51, null]}'),
            _fence('{"output": [true, 2.5, null]}'),
            _fence('{"input": [1, 2.5, null], "output": []}'),
        ),
    ),
    Row(
        "simulation__codeio",
        *_codeio("input", '{"preorder": "[97]", "flag": "true"}'),
        right=(
            _fence('{"input": {"preorder": "[97]", "flag": "true"}}'),
            _fence('{"input": {"preorder": [97], "flag": true}}'),
        ),
        wrong=(
            _fence('{"input": {"preorder": "[98]", "flag": "true"}}'),
            _fence('{"output": {"preorder": "[97]"}}'),
            _fence('{"input": {"preorder": 97, "flag": "true"}}'),
            _fence('{"input": {"flag": "true"}}'),
        ),
    ),
    Row(
        "simulation__codeio",
        *_codeio("output", "0.1"),
        right=(_fence('{"output": 0.1}'), _fence('{"output": 0.10000000001}')),
        wrong=(
            _fence('{"output": 0.1001}'),
            _fence('{"output": 0}'),
            _fence('{"output": "0.1"}'),
            _fence('{"output": NaN}'),
        ),
    ),
    Row(
        "simulation__codeio",
        *_codeio("output", '{"output": 5}'),
        right=(_fence('{"output": {"output": 5}}'),),
        wrong=(_fence('{"output": {"output": 6}}'), _fence('{"output": {}}')),
    ),
    Row(
        "simulation__codeio",
        *_codeio("output", "12345678901234567890"),
        right=(_fence('{"output": 12345678901234567890}'),),
        wrong=(
            _fence('{"output": 12345678901234567891}'),
            _fence('{"output": 1.2345678901234567e19}'),
            "9" * 20_000,
        ),
    ),
]

_F = "def f(text):\n    out = []\n    for c in text:\n        out.insert(0, c * 2)\n    return ''.join(out)"
_G = "def f(n, k=1):\n    while n < 0:\n        pass\n    return {n: [k]} if n > 2 else (n, True)"


def _crux(source: str, asked: str) -> tuple[str, str]:
    told = "Complete the assertion …" if asked.endswith("??") else "… of the form f(??) == output …"
    return f"{told}\n\n```python\n{source}\n{asked}\n```\n", json.dumps({"functional": source})


def _python(text: str) -> str:
    return _fence(text, "python")


CRUXEVAL = [
    Row(
        "simulation__cruxeval-o",
        *_crux(_F, "assert f('ab') == ??"),
        right=(
            _python("assert f('ab') == 'bbaa'"),
            _python('assert f("ab") == "bbaa"'),
            _python(f"{_F}\nassert f('ab') == 'bbaa'"),
            _python("assert 'bbaa' == f('ab')"),
            "\\boxed{'bbaa'}",
            _python("'bbaa'"),
            "<think>" + _python("assert f('ab') == 'x'") + "</think>" + _python("assert f('ab') == 'bbaa'"),
        ),
        wrong=(
            "",
            "pass",
            _python("pass"),
            _python("assert True"),
            _python("assert f('ab') == 'aabb'"),
            _python("assert f('ba') == 'aabb'"),
            _python("assert f('ab') == f('ab')"),
            _python("assert f('ab') == ??"),
            _python("assert f('ab') != 'x'"),
            _python("assert f('ab')"),
            _python("assert f('ab') == ''.join(['bbaa'])"),
            _python("f = lambda x: 'x'\nassert f('ab') == 'x'"),
            _python("assert f('ab') == 'bbaa'\nassert f('ab') == 'x'"),
            _python("import os\nos._exit(0)"),
            _python("assert f('ab') == 'a' * 100000000"),
            _python("assert f('ab') == (" * 500),
            _python("assert f('ab') == __import__('os').getcwd()"),
            _python("assert f('ab') in ('bbaa', 'x')"),
            _python("assert f('ab') == 'bbaa' or True"),
            _python("assert True or f('ab') == 'bbaa'"),
        ),
    ),
    Row(
        "simulation__cruxeval-i",
        *_crux(_F, "assert f(??) == 'bbaa'"),
        right=(
            _python("assert f('ab') == 'bbaa'"),
            _python("assert f(['a', 'b']) == 'bbaa'"),
            _python("assert f(text='ab') == 'bbaa'"),
            _python("assert f(('a', 'b')) == \"bbaa\""),
            _python("f('ab')"),
        ),
        wrong=(
            "",
            _python("pass"),
            _python("assert f('ba') == 'bbaa'"),
            _python("assert f('ba') == 'aabb'"),
            _python("assert f('x') == 'xx'"),
            _python("assert f(??) == 'bbaa'"),
            _python("assert f(f) == 'bbaa'"),
            _python("assert f(globals().update(f=lambda x: 'bbaa')) == 'bbaa'"),
            _python("assert f(*['ab']) == 'bbaa'"),
            _python("assert f((lambda: 'ab')()) == 'bbaa'"),
            _python("assert f('ab') == f('ab')"),
            _python("assert f() == 'bbaa'"),
            _python("assert f('a' * 999999999) == 'bbaa'"),
        ),
    ),
    Row(
        "simulation__cruxeval-o",
        *_crux(_G, "assert f(5, k='x') == ??"),
        right=(_python("assert f(5, k='x') == {5: ['x']}"), _python("assert f(5, k='x') == {5:['x'],}")),
        wrong=(
            _python("assert f(5, k='x') == {5: 'x'}"),
            _python("assert f(5) == {5: ['x']}"),
            _python("assert f(5, k='x') == {5: [x]}"),
        ),
    ),
    Row(
        "simulation__cruxeval-i",
        *_crux(_G, "assert f(??) == (-0.0, True)"),
        right=(_python("assert f(0) == (-0.0, True)"), _python("assert f(0, k=set()) == (-0.0, True)")),
        wrong=(
            _python("assert f(1) == (-0.0, True)"),
            _python("assert f(-1) == (-0.0, True)"),
            _python("assert f({}) == (-0.0, True)"),
        ),
    ),
]


def _table(question: str) -> str:
    told = "Please output the final answer within \\boxed{}."
    return f"You are given some text and tables. …\n| year | 50% |\nThe question is:\n{question}\n{told}"


def _boxed(*texts: str) -> tuple[str, ...]:
    return tuple(f"So \\boxed{{{text}}}." for text in texts)


TABLE = [
    Row(
        "table__finqa",
        _table("what was the percentage change in net sales?"),
        0.14136,
        right=(
            *_boxed(
                "14.136\\%", "14.14%", "0.14136", "0.1414", "14.136", "14.14", "+14.14\\%", "14.14 percent"
            ),
            "The answer is 14.14%.",
        ),
        wrong=_boxed(
            "14\\%",
            "15.1\\%",
            "-14.14\\%",
            "0.15",
            "1.4136",
            "1414",
            "14.2",
            "",
            "0.1415",
            "0.14142",
            "0.1413",
        ),
    ),
    Row(
        "table__finqa",
        _table("what was the change in net sales, in millions?"),
        127.4,
        right=_boxed("127.4", "\\$127.4", "$127.40", "127.40 dollars", "127.40\\text{ dollars}"),
        wrong=_boxed(
            "127", "128", "1.274", "12740", "127.5", "-127.4", "127.4 or 130", "(127.4)", "127.4 million"
        ),
    ),
    Row(
        "table__finqa",
        _table("what is the ratio of debt to equity?"),
        0.0012,
        right=_boxed("0.0012", "1.2e-3", "0.12\\%", "1.2\\times 10^{-3}"),
        wrong=_boxed("0.0013", "0.001", "0", "0.12", "0.00125"),
    ),
    Row(
        "table__hitab",
        _table("which had more, and how many?"),
        "women|5834.0",
        right=_boxed("women|5834", "5,834 | Women", "\\text{women} | 5{,}834", "women \\| 5834.0"),
        wrong=_boxed(
            "women",
            "5834",
            "men|5834",
            "women|5835",
            "women|5834|3",
            "women|women",
            "5834|5834",
            "women, 5834",
        ),
    ),
    Row(
        "table__hitab",
        _table("how many in 2018 and 2019?"),
        "12.5|12.5",
        right=_boxed("12.5|12.5", "12.50 | 12.5"),
        wrong=_boxed("12.5", "12.5|13", "12.5|12.5|12.5"),
    ),
    Row(
        "table__hitab",
        _table("what percentage of women work?"),
        "50.3",
        right=_boxed("50.3", "50.3\\%", "50.3 percent", "50.30%"),
        wrong=_boxed("50", "0.5", "5.03", "50.4", "49.7\\%", "503"),
    ),
    Row(
        "table__multihier",
        _table("what is the total revenue in 2019?"),
        "2019",
        right=_boxed("2019", "2,019", "\\$2,019", "2019.0", "2{,}019"),
        wrong=_boxed("2018", "2020", "2019.4", "20.19", "2,0190", "201,9", "2019|2020", "-2019", "19"),
    ),
    Row(
        "table__multihier",
        _table("which segment grew most?"),
        "Cloud services (B2B)",
        right=_boxed("Cloud services (B2B)", "\\text{Cloud services (B2B)}", "cloud Services (b2b)."),
        wrong=_boxed("Cloud services", "services (B2B) cloud", "Cloud services (B2B) and Retail", "(B2B)"),
    ),
    Row(
        "table__multihier",
        _table("what is the change?"),
        "-12",
        right=_boxed("-12", "−12", "-\\$12", "(12)", "$-12$"),
        wrong=_boxed("12", "-12.4", "-13", "--12", "(-12", "12)"),
    ),
]


def _choice(question: str, options: tuple[str, ...]) -> str:
    listed = "".join(f"({letter}): {text}\n" for letter, text in zip("ABCDEFGHIJ", options, strict=False))
    return f"{question}\nOptions are:\n{listed}\nPlease reason, and put your final answer option within \\boxed{{}}."


STEM = [
    Row(
        "stem__supergpqa",
        _choice("Which gas?", ("Oxygen", "Nitrogen", "Argon or Neon", "Vitamin B")),
        "C",
        right=(
            *_boxed(
                "C",
                "(C)",
                "\\text{C}",
                "\\textbf{(C)}",
                "C.",
                "c",
                "C. Argon or Neon",
                "C: Argon or Neon",
                "Option C",
                "Argon or Neon",
                "\\text{(C) Argon or Neon}",
                "[C]",
                "\\mathbf{C}",
                "$C$",
            ),
            "The answer is C",
            "Answer: (C)",
            "<answer>C</answer>",
            "A? B?\nC",
            "\\boxed{A} no, \\boxed{C}",
        ),
        wrong=(
            "",
            "I guess.",
            *_boxed(
                "A",
                "",
                "A or C",
                "C or A",
                "C, A",
                "A, C",
                "AC",
                "C. Oxygen",
                "C. or A",
                "CD",
                "ABCD",
                "not C",
                "K",
                "Oxygen",
                "Neon",
                "C) A)",
                "C: A",
                "(C) (A)",
            ),
            "C is right, but \\boxed{B}",
            "<think>\\boxed{C}</think> no idea",
            "\\boxed{C} no, \\boxed{A}",
            "A\nB\nC\nD",
            "C" * 5000,
        ),
    ),
    Row(
        "stem__gpqa_diamond",
        "Which?\nA) 5 eV\nB) 6 eV\nC) 7 eV\nD) 6 eV\nPlease reason.",
        "B",
        right=_boxed("B", "B) 6 eV", "B. 6 eV"),
        wrong=_boxed("6 eV", "D", "B) 5 eV", "E"),
    ),
    Row("stem__gpqa", "", "J", right=_boxed("J", "J. 12"), wrong=_boxed("I", "J. or I", "J. I")),
]

ROWS = {"codeio": CODEIO, "cruxeval": CRUXEVAL, "table": TABLE, "stem": STEM}
