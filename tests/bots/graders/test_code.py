"""The code grader on known solutions, in every format, and on answers that are no tests."""

import json
from collections.abc import Iterator

import pytest

from bots.graders import code, resolve
from bots.graders.code_tests import BrokenTestsError, parse
from bots.sandbox import Limits, SandboxUnavailableError
from tests.bots.graders.code_tasks import FORMATS, FUNCTIONS, SCRIPTS, completion

grade = resolve("code")


@pytest.fixture(scope="module", autouse=True)
def _options() -> Iterator[None]:
    code.configure(code.CodeOptions(Limits(cpu_seconds=2, wall_seconds=10.0), total_seconds=15.0))
    try:
        code.preflight()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    yield
    code.configure(code.CodeOptions())


@pytest.mark.parametrize("form", FORMATS)
def test_functions(form: str) -> None:
    tests_of, solution_of = FORMATS[form]
    for name, cases, right, wrong in FUNCTIONS:
        if form in ("asserts", "leetcode", "livecodebench") and name in ("third", "twins"):
            continue  # those compare exactly: floats to the last bit, a tuple is no list
        tests = tests_of(name, cases)
        good = grade("", tests, completion(solution_of(name, right)))
        assert good.reward == 1.0, (name, good.reason)
        bad = grade("", tests, completion(solution_of(name, wrong)))
        assert bad.reward == 0.0, name


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_scripts(number: int) -> None:
    inputs, outputs, right, wrong = SCRIPTS[number]
    tests = json.dumps({"inputs": inputs, "outputs": outputs})
    listed = json.dumps(
        [{"type": "stdin_stdout", "input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    )
    for source in right:
        for answer in (tests, listed, listed.replace("type", "testtype").replace("_stdout", "")):
            verdict = grade("", answer, completion(source))
            assert verdict.reward == 1.0, (source, verdict.reason)
    for source in wrong:
        assert grade("", tests, completion(source)).reward == 0.0, source


def test_there_are_enough_pairs() -> None:
    functions = len(FORMATS) * len(FUNCTIONS) - 6
    assert functions + 3 * sum(len(right) for *_, right, _ in SCRIPTS) >= 100
    assert functions + sum(len(wrong) for *_, wrong in SCRIPTS) >= 100


LINKED = """
def check(candidate):
    assert is_same_list(candidate(head = list_node([1, 2, 3])), list_node([3, 2, 1]))
    assert candidate(head = list_node([])) == None

check(Solution().reverse)
"""
TREE = """
def check(candidate):
    assert is_same_tree(candidate(root = tree_node([4, 2, 7, None, 3])), tree_node([4, 7, 2, None, None, 3]))

check(Solution().invert)
"""
DESIGN = "s = Stack()\ns.push(3)\ns.push(4)\nassert s.pop() == 4\nassert s.size == 1\nassert s.pop() == 3"
HUMANEVAL = """
METADATA = {'author': 'jt'}

def check(candidate):
    assert candidate([1.0, 2.0, 3.9], 0.3) == False
    assert abs(candidate([1.0, 2.0], 0.3) - 0.0) < 1e-6
    for n in range(3, 6):
        assert candidate([n], n) is False
    assert set(map(type, [candidate([], 1)])) == {bool}

check(close)
"""


def test_the_data_structures_and_idioms_of_the_sets() -> None:
    reverse = """
class Solution:
    def reverse(self, head: Optional[ListNode]) -> Optional[ListNode]:
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
"""
    invert = """
class Solution:
    def invert(self, root: Optional[TreeNode]) -> Optional[TreeNode]:
        if root: root.left, root.right = self.invert(root.right), self.invert(root.left)
        return root
"""
    stack = (
        "class Stack:\n    def __init__(self): self.x = []\n    def push(self, v): self.x.append(v)\n"
        "    def pop(self): return self.x.pop()\n    size = property(lambda self: len(self.x))"
    )
    own_node = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
    close = "def close(xs, t):\n    return any(abs(a - b) < t for i, a in enumerate(xs) for b in xs[:i])"
    for tests, right, wrong in [
        (LINKED, reverse, reverse.replace("return before", "return head")),
        (LINKED, own_node + reverse, "class Solution:\n    def reverse(self, head): return head"),
        (TREE, invert, invert.replace("return root", "return None")),
        (DESIGN, stack, stack.replace("pop()", "pop(0)")),
        (HUMANEVAL, close, "def close(xs, t): return True"),
        (HUMANEVAL, close, "def close(xs, t): return None"),
        ("assert list(f(3)) == [0, 1, 2]", "def f(n):\n    yield from range(n)", "def f(n): yield n"),
        ("assert f(2) == {1, 2}\nassert sorted(f(3)) == [1, 2, 3]", "def f(n): return set(range(1, n + 1))",
         "def f(n): return list(range(1, n + 1))"),
        ("try:\n    f(-1)\n    assert False, 'no error'\nexcept ValueError:\n    pass\nassert f(1) == 1",
         "def f(n):\n    if n < 0: raise ValueError(n)\n    return n", "def f(n): return n"),
        ("import math\nassert math.isclose(f(2), 1.41421356, rel_tol=1e-6)", "def f(n): return sqrt(n)",
         "def f(n): return 1.4"),
    ]:  # fmt: skip
        answer = json.dumps({"functional": tests})
        good = grade("", answer, completion(right))
        assert good.reward == 1.0, (tests, good.reason)
        assert grade("", answer, completion(wrong)).reward == 0.0, tests


def test_where_the_code_is() -> None:
    assert code.extract("```python\nx\n```") == "x\n"
    assert code.extract("```\nx\n```") == "x\n"
    assert code.extract("```py\nx\n```\nand\n```python\ny\n```") == "x\n\ny\n"
    assert code.extract("```text\nx\n```\n```python\ny\n```") == "y\n"
    assert code.extract("<think>```python\nx\n```</think>```python\ny\n```") == "y\n"
    assert code.extract("```python\nx = '''\n``\n'''\n```") == "x = '''\n``\n'''\n"
    for nothing in (
        "",
        "x = 1",
        "```python\nx",
        "```text\nx\n```",
        "```python\n```",
        "<think>```python\nx\n```</think>",
    ):
        assert code.extract(nothing) is None


def test_a_slow_solution_is_stopped_by_the_limits_of_all_tests_together() -> None:
    code.configure(code.CodeOptions(Limits(cpu_seconds=2, wall_seconds=5.0), total_seconds=0.5))
    tests = json.dumps({"inputs": ["x"] * 100, "outputs": ["1"] * 100})
    verdict = grade("", tests, completion("import time\ntime.sleep(.2)\nprint(1)"))
    assert verdict.reward == 0.0
    assert "time limit" in verdict.reason
    code.configure(code.CodeOptions(Limits(cpu_seconds=2, wall_seconds=10.0), total_seconds=15.0))


BROKEN = [
    "", "x", "3", "[]", "[3]", "{}", '{"inputs": ["x"]}', '{"inputs": [], "outputs": []}',
    '{"inputs": ["a"], "outputs": ["b", "c"]}', '{"functional": ""}', '{"functional": 3}', '[{"type": "magic"}]',
    '[{"type": "stdin_stdout", "input": "x"}]', '{"fn_name": "a b", "inputs": [[1]], "outputs": [1]}',
    '{"fn_name": "f", "inputs": [1], "outputs": [1]}', '{"pytest": "x"}',
    '[{"testtype": "functional", "input": "1", "output": "magic", "metadata": {"func_name": "f"}}]',
]  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN)
def test_tests_that_are_none(answer: str) -> None:
    with pytest.raises(BrokenTestsError):
        parse(answer)


@pytest.mark.parametrize("tests", ["assert f(", "assert 1 == 1", "def check(c): assert c(1)", "exit()"])
def test_broken_test_code_is_never_a_zero(tests: str) -> None:
    with pytest.raises(BrokenTestsError):
        grade("", json.dumps({"functional": tests}), completion("def f(n): return n"))
