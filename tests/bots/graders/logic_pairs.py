"""Logic puzzles of GURU's four kinds: (answer, completion, reward)."""

import json

_BIRDS = ["pigeon", "sparrow", "quail", "blue jay"]
_ORDER = json.dumps(_BIRDS)
_ZEBRA = {
    "header": ["Position", "Nationality", "Job"],
    "rows": [["1", "british", "plumber"], ["2", "polish", "carpenter"], ["3", "thai", "cook"]],
}
_HOUSES = json.dumps(_ZEBRA)
_GRID = [[0, 1, 2], [3, 4, 5]]


def _cells(*changes: tuple[int, int, str]) -> str:
    rows = [list(row) for row in _ZEBRA["rows"]]
    for row, column, value in changes:
        rows[row][column] = value
    return json.dumps({"header": _ZEBRA["header"], "rows": rows})


_TABLE: list[tuple[str, str, float]] = [
    # orderings: a JSON list, a Python list, bare words; case and quotes do not count, the order does
    (_ORDER, '["pigeon", "sparrow", "quail", "blue jay"]', 1),
    (_ORDER, "['pigeon', 'sparrow', 'quail', 'blue jay']", 1),
    (_ORDER, "[pigeon, sparrow, quail, blue jay]", 1),
    (_ORDER, "['Pigeon', 'SPARROW', 'Quail', 'Blue Jay']", 1),
    (_ORDER, "pigeon, sparrow, quail, blue jay", 1),
    (_ORDER, "pigeon\nsparrow\nquail\nblue jay", 1),
    (_ORDER, "pigeon > sparrow > quail > blue jay", 1),
    (_ORDER, "pigeon -> sparrow -> quail -> blue jay", 1),
    (_ORDER, "The order is ['pigeon', 'sparrow', 'quail', 'blue jay']", 1),
    (_ORDER, "('pigeon', 'sparrow', 'quail', 'blue jay')", 1),
    (_ORDER, "[“pigeon”, “sparrow”, “quail”, “blue jay”]", 1),
    (repr(_BIRDS), "['pigeon', 'sparrow', 'quail', 'blue jay']", 1),
    (json.dumps(["a"]), "['a']", 1),
    (_ORDER, "['sparrow', 'pigeon', 'quail', 'blue jay']", 0),
    (_ORDER, "['blue jay', 'quail', 'sparrow', 'pigeon']", 0),
    (_ORDER, "['pigeon', 'sparrow', 'quail']", 0),
    (_ORDER, "['pigeon', 'sparrow', 'quail', 'blue jay', 'owl']", 0),
    (_ORDER, "['pigeon', 'sparrow', 'quail', 'jay']", 0),
    (_ORDER, "['pigeon', 'sparrow', 'quail', 'quail']", 0),
    (_ORDER, "pigeon", 0),
    (_ORDER, "[]", 0),
    (_ORDER, "", 0),
    (_ORDER, "{'pigeon': 1}", 0),
    (_ORDER, "[[['pigeon']]]", 0),
    (_ORDER, "42", 0),
    # zebra puzzles: the share of right cells
    (_HOUSES, _HOUSES, 1),
    (_HOUSES, repr(_ZEBRA), 1),
    (_HOUSES, f"```json\n{_HOUSES}\n```", 1),
    (_HOUSES, _HOUSES.upper().replace("HEADER", "header").replace("ROWS", "rows"), 1),
    (_HOUSES, json.dumps({"rows": _ZEBRA["rows"]}), 1),
    (_HOUSES, json.dumps({"header": ["Position", "Job", "Nationality"],
                          "rows": [[a, c, b] for a, b, c in _ZEBRA["rows"]]}), 1),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": [[1, *row[1:]] if row[0] == "1" else row
                                                               for row in _ZEBRA["rows"]]}), 1),
    (_HOUSES, _cells((0, 1, "polish")), 8 / 9),
    (_HOUSES, _cells((0, 1, "polish"), (1, 1, "british")), 7 / 9),
    (_HOUSES, _cells((0, 2, "x"), (1, 2, "x"), (2, 2, "x")), 6 / 9),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": _ZEBRA["rows"][:2]}), 6 / 9),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": _ZEBRA["rows"] + [["4", "a", "b"]]}), 9 / 12),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": [row[:2] for row in _ZEBRA["rows"]]}), 6 / 9),
    (_HOUSES, json.dumps({"header": ["Position", "Job", "Nationality"], "rows": _ZEBRA["rows"]}), 3 / 9),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": [[], 3, None]}), 0),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"], "rows": []}), 0),
    (_HOUSES, json.dumps({"header": _ZEBRA["header"]}), 0),
    (_HOUSES, json.dumps({"rows": "british"}), 0),
    (_HOUSES, json.dumps(_ZEBRA["rows"]), 0),
    (_HOUSES, "the british man is a plumber", 0),
    (_HOUSES, "{", 0),
    (_HOUSES, "", 0),
    # graphs: one word
    ("fdebme", "fdebme", 1), ("fdebme", "FDEBME", 1), ("fdebme", " fdebme ", 1), ("fdebme", "'fdebme'", 1),
    ("fdebme", "fdebme.", 1), ("ab", "ab", 1), ("fdebme", "fdebm", 0), ("fdebme", "fdebmee", 0),
    ("fdebme", "embedf", 0),
    ("fdebme", "fdebme or abc", 0), ("fdebme", "the node fdebme", 0), ("fdebme", "f d e b m e", 0), ("fdebme", "", 0),
    # ARC grids: cell for cell
    (str(_GRID), "[[0, 1, 2], [3, 4, 5]]", 1), (str(_GRID), "[[0,1,2],[3,4,5]]", 1),
    (str(_GRID), "[\n [0, 1, 2],\n [3, 4, 5]\n]", 1), (str(_GRID), "The output is [[0, 1, 2], [3, 4, 5]]", 1),
    (str(_GRID), "```\n[[0, 1, 2], [3, 4, 5]]\n```", 1), (str(_GRID), "0 1 2\n3 4 5", 1), ("[[7]]", "[[7]]", 1),
    (json.dumps(_GRID), "[[0, 1, 2], [3, 4, 5]]", 1), ("[[0]]", "0", 1),
    (str(_GRID), "[[0, 1, 2], [3, 4, 6]]", 0), (str(_GRID), "[[0, 1, 2]]", 0), (str(_GRID), "[[0, 1], [3, 4]]", 0),
    (str(_GRID), "[[0, 1, 2], [3, 4, 5], [0, 0, 0]]", 0), (str(_GRID), "[[0, 3], [1, 4], [2, 5]]", 0),
    (str(_GRID), "[[0, 1, 2, 3], [3, 4, 5, 6]]", 0), (str(_GRID), "[0, 1, 2, 3, 4, 5]", 0),
    (str(_GRID), "[[...]]", 0),
    (str(_GRID), "[['0', '1', '2'], ['3', '4', '5']]", 0), (str(_GRID), "[[0, 1, 2], [3, 4", 0), (str(_GRID), "", 0),
    (str(_GRID), "[[0, 1, 2], 3]", 0), (str(_GRID), "grid", 0), ("[[0, 1]]", "[[false, true]]", 0),
    ("[[0, 1]]", "[[False, True]]", 0), (str(_GRID), "[" * 3000, 0), (str(_GRID), "[" * 3000 + "]" * 3000, 0),
]  # fmt: skip

FORMS = {
    "tags": "I thought about it.\n<answer> %s </answer>",
    "later tags count": "<answer>owl</answer> no:\n<answer>%s</answer>",
    "after thinking": "<think><answer>owl</answer></think>\n<answer>\n%s\n</answer> Done.",
}
CASES = [(answer, form % said, reward) for answer, said, reward in _TABLE for form in FORMS.values()]
