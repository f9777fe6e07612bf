"""Right and wrong completions for rows in the shapes of LLM360/Reasoning360, written for this test.

A wrong one earns exactly 0: no tolerance, type, order, repetition or hedge turns it into a right one.
"""

import json

import pytest

from bots.graders.registry import resolve

ROWS = []


def add(grader, answer, right, wrong, form="\\boxed{%s}"):
    """Rows of (grader, answer, completion, reward)."""
    ROWS.extend((grader, answer, form % said, 1.0) for said in right)
    ROWS.extend((grader, answer, form % said, 0.0) for said in wrong)


# codeio
add(
    "codeio",
    '"output": {"count": 3, "ids": [1, 2]}',
    ['{"count": 3, "ids": [1, 2]}', '{"ids": [1, 2], "count": 3}', '{"output": {"count": 3, "ids": [1, 2]}}'],
    [
        '{"count": 3, "ids": [2, 1]}',
        '{"count": 3}',
        '{"count": 3, "ids": [1, 2], "x": 0}',
        '{"count": true, "ids": [1,2]}',
        '{"count": "3", "ids": [1,2]}',
        "[]",
        "null",
        "NaN",
        '{"count": 3, "ids": [1, 2, null]}',
    ],
    "```json\n%s\n```",
)
add(
    "codeio",
    '"output": 100000000000000000001',
    ["100000000000000000001"],
    ["100000000000000000000", "1e20", "100000000000000000001.0", "Infinity"],
    "```json\n%s\n```",
)
add("codeio", '"output": 0.1', ["0.1", "0.10"], ["0.2", '"0.1"', "0", "inf", "0.1001"], "```json\n%s\n```")
add("codeio", '"output": "é"', ['"é"', '"\\u00e9"'], ['"e"', '"É"', '"é "'], "```json\n%s\n```")
add("codeio", '"output": true', ["true", "True"], ["1", "false", '"yes"'], "```json\n%s\n```")
add("codeio", '"output": null', ["null", "None"], ["0", '""', "false", "[]"], "```json\n%s\n```")
# cruxeval
add(
    "table",
    "12.5",
    ["12.5", "12.50", "$12.5"],
    ["12", "13", "125", "-12.5", "nan", "inf", "12.5 or 13", "1.25", "12.6"],
)
add(
    "table",
    "Alice|Bob",
    ["Alice|Bob", "Bob|Alice"],
    ["Alice", "Bob", "Alice|Bob|Carol", "Alice Bob Carol", ""],
)
add("table", "5.0%", ["5.0%", "5%"], ["50%", "0.5%", "-5%"])
add("table", "1,234", ["1,234", "1234"], ["1,235", "1234.5", "234", "1.234"])
add("table", "yes", ["yes", "Yes"], ["no", "yes and no", "y e s n o"])
add(
    "stem",
    "C",
    ["C", "(C)", "C.", "C) water", "\\text{C}"],
    ["A", "B", "D", "AC", "C or D", "A, C", "not C", "", "Carbon", "CC", "c and d"],
)
add(
    "math",
    "\\frac{1}{3}",
    ["1/3", "\\frac13", "\\dfrac{1}{3}", "\\frac{2}{6}"],
    ["0.333", "3", "1/3+10^{-30}", "nan", "\\infty", "1/3 or 2/3", "-1/3", "\\frac{1}{3}x"],
)
add(
    "math",
    "2^{100}",
    ["2^{100}", "1267650600228229401496703205376", "4^{50}"],
    ["1267650600228229401496703205375", "2^{99}", "10^{30}", "2^{2^{100}}"],
)
add("math", "x^2-1", ["x^2-1", "(x-1)(x+1)", "-1+x^2"], ["x^2+1", "x^2-1.0001", "(x-1)^2", "x-1", "y^2-1"])
add("math", "(3, 4)", ["(3,4)", "(3, 4)", "\\left(3,4\\right)"], ["(4,3)", "3,4,5", "\\{3,4\\}", "[3,4]"])
add(
    "math",
    "12",
    ["12", "12.0", "１２", "\\text{12}", "12\\,"],
    [
        "1 2",
        "2",
        "21",
        "12i",
        "12^{12^{12^{12}}}",
        "9" * 4000,
        "{" * 3000,
        "\\sqrt{" * 500,
        "1²",
        "१३",
        "12\\cdot0",
        "__import__('os')",
        "\\infty-\\infty+12",
    ],
)
add(
    "math",
    "\\frac{\\pi}{4}",
    ["\\pi/4", "\\frac{\\pi}{4}", "\\arctan 1"],
    ["0.785", "\\pi", "45", "\\pi/4+1"],
)
add("exact", "ß", ["ß", "SS"], ["s", "b"])
add("exact", "１", ["１"], ["2", "", "nan"])
zebra = json.dumps({"header": ["House", "Color", "Pet"], "rows": [["1", "red", "cat"], ["2", "blue", "dog"]]})
add("logic", zebra, [zebra], [json.dumps({"header": [], "rows": []}), "{}", "[]", "1"], "<answer>%s</answer>")
add(
    "logic",
    json.dumps(["ann", "bob", "cid"]),
    [json.dumps(["ann", "bob", "cid"])],
    [
        json.dumps(["bob", "ann", "cid"]),
        json.dumps(["ann", "bob"]),
        json.dumps(["ann", "bob", "cid", "dan"]),
        "[]",
        "ann",
    ],
    "<answer>%s</answer>",
)
add(
    "logic",
    "[[1, 0], [0, 1]]",
    ["[[1, 0], [0, 1]]", "[[1,0],[0,1]]"],
    ["[[0,1],[1,0]]", "[[1,0]]", "[[1,0],[0,1],[0,0]]", "[[1,0],[0,true]]", "[[1]]", "[]", "[["],
    "<answer>%s</answer>",
)
add("logic", "carbon", ["carbon", "Carbon"], ["carbons", "hydrogen", "not carbon", ""], "<answer>%s</answer>")


@pytest.mark.parametrize("grader", sorted({row[0] for row in ROWS}))
def test_right_earns_one_and_wrong_nothing(grader):
    grade = resolve(grader)
    rows = [row[1:] for row in ROWS if row[0] == grader]
    assert [(a, said[:80], grade("q", a, said).reward) for a, said, _ in rows] == [
        (a, said[:80], r) for a, said, r in rows
    ]


@pytest.mark.parametrize(("pets", "reward"), [(("cat", "dog"), 1.0), (("dog", "cat"), 4 / 6)])
def test_a_zebra_puzzle_earns_its_share_of_cells_as_in_the_reference(pets, reward):
    said = {"header": ["House", "Color", "Pet"], "rows": [["1", "red", pets[0]], ["2", "blue", pets[1]]]}
    assert resolve("logic")("q", zebra, f"<answer>{json.dumps(said)}</answer>").reward == pytest.approx(
        reward
    )
