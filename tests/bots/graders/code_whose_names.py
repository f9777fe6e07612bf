# ruff: noqa: E501 a case is easier to read on its lines
"""Function-call tests in which it matters whose a name is, and what can be sent: (tests, prefix, right, wrong)."""

import json

POINT = "class Point:\n    def __init__(self, x, y): self.x, self.y = x, y\n"
NODE = "class Node:\n    def __init__(self, data):\n        self.data, self.left, self.right = data, None, None\n"

REFUSAL = "def f(n):\n    if n < 0: raise ValueError('negative', n)\n    return n"

NAMES = [
    # A built-in exception has the text and the arguments that the solution gave it …
    ("try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert e.args == ('negative', -1)", "", REFUSAL, "def f(n): raise ValueError('no')"),
    ("try:\n    f(-1)\nexcept ValueError as e:\n    assert str(e) == 'negative'\nelse:\n    assert False", "",
     REFUSAL.replace(", n)", ")"), REFUSAL),
    ("try:\n    f('k')\nexcept KeyError as e:\n    assert str(e) == repr('k') and type(e) is KeyError\nelse:\n    assert False", "",
     "def f(k): return {}[k]", "def f(k): raise KeyError"),
    ("try:\n    f('k')\nexcept ValueError as e:\n    assert str(e) == 'bad k'\nelse:\n    assert False", "",
     "class Bad(ValueError):\n    def __str__(self): return 'bad ' + self.args[0]\ndef f(k): raise Bad(k)", "def f(k): raise ValueError(k)"),
    ("try:\n    f(b'\\xff')\nexcept UnicodeDecodeError as e:\n    assert e.start == 0\nelse:\n    assert False", "",
     "def f(b): return b.decode()", "def f(b): raise ValueError(b)"),
    # A name that both sides have at hand is the solution's where it is under test …
    ("assert gcd(12, 18) == 6", "", "def gcd(a, b): return math.gcd(a, b)", "x = 1"),
    ("assert gcd(12, 18) == 6", "", "from math import gcd", "from math import *\ngcd = max"),
    ("assert 10 == comb(5, 2)", "", "def comb(n, k): return math.comb(n, k)", "x = 1"),
    ("check = lambda f: None\ncheck(factorial)\nassert factorial(5) == 120", "", "from math import factorial", "x = 1"),
    ("def check(candidate):\n    assert candidate([1, 2]) == [1, 3]\ncheck(accumulate)", "",
     "def accumulate(xs): return [sum(xs[:i + 1]) for i in range(len(xs))]", "x = 1"),
    ("def check(candidate):\n    assert candidate(3) == '3'\ncheck(digits)", "", "def digits(n): return str(n)", "x = 1"),
    ("assert sorted(permutations([1, 2])) == [[1, 2], [2, 1]]", "",
     "def permutations(x): return [[x[0], x[1]], [x[1], x[0]]]", "x = 1"),
    ("assert abs(dist([0, 0], [3, 4]) - 5) < 1e-9", "", "def dist(a, b): return math.dist(a, b)", "pass"),
    ("result = gcd(8, 12)\nassert result == 4", "", "from math import gcd", "x = 1"),
    ("assert gcd(4, 6) == 2 and lcm(4, 6) == 12", "", "from math import gcd, lcm", "from math import gcd"),
    ("import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(gcd(4, 6), 2)\nT().test()", "",
     "from math import gcd", "x = 1"),
    # … and the tests' own where they lean on it.
    ("assert math.isclose(area(2), 12.566370614359172)", "", "def area(r): return pi * r * r",
     "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef area(r): return 0"),
    ("assert Counter(f('aab')) == Counter({'a': 2, 'b': 1})", "", "def f(s): return list(s)",
     "def Counter(*a): return 1\ndef f(s): return 0"),
    ("assert deepcopy(f(3)) == [3]", "from copy import deepcopy", "def f(n): return [n]",
     "def deepcopy(x): return [3]\ndef f(n): return n"),
    ("assert is_sorted(f([2, 1]))", "def is_sorted(xs): return xs == sorted(xs)", "f = sorted",
     "def is_sorted(xs): return True\ndef f(xs): return xs"),
    ("assert json.loads(f(1)) == [1]", "", "def f(n): return json.dumps([n])",
     "class json:\n    loads = staticmethod(lambda s: [1])\ndef f(n): return ''"),
    ("assert decode(encode(3)) == 3 and decode(7) == 3", "def encode(n): return 2 * n + 1",
     "def decode(n): return (n - 1) // 2", "def encode(n): return n\ndef decode(n): return n"),
    ("assert f(1) == true and f(0) == false and f(-1) == null", "", "def f(n): return None if n < 0 else n > 0",
     "true = false = null = 0\ndef f(n): return 0"),
    # What the tests build or expect.
    ("import datetime\nassert f() == datetime.date(2020, 1, 1)", "", "import datetime\ndef f(): return datetime.date(2020, 1, 1)",
     "import datetime\ndef f(): return datetime.date(2020, 1, 2)"),
    ("from datetime import *\nt = datetime(2020, 1, 1, tzinfo=timezone.utc)\nassert f(t) == t + timedelta(hours=5)", "",
     "def f(t): return t + datetime.timedelta(hours=5)", "def f(t): return t"),
    ("from array import array\nassert f(array('i', [1, 2])) == array('i', [2, 1])", "", "def f(a): return a[::-1]", "def f(a): return a"),
    ("assert f('abca').most_common(1) == [('a', 2)]", "", "def f(s): return Counter(s)", "def f(s): return Counter('bb')"),
    ("assert apply(lambda x: x + 1, 2) == 3", "", "def apply(f, x): return f(x)", "def apply(f, x): return f"),
    ("def twice(f, x): return f(f(x))\nassert apply(twice, lambda x: 3 * x, 2) == 18", "",
     "def apply(g, f, x): return g(f, x)", "def apply(g, f, x): return f(x)"),
    ("assert compose(f, f)(2) == 4\nassert f(1) == 2", "",
     "def f(x): return x + 1\ndef compose(g, h): return lambda x: g(h(x))", "def f(x): return x + 1\ndef compose(g, h): return g"),
    ("assert f([3, 1, 2], key=lambda x: -x) == [3, 2, 1]", "", "f = sorted", "def f(x, key): return sorted(x)"),
    ("out = []\neach([1, 2], out.append)\nassert out == [1, 2]", "",
     "def each(xs, do):\n    for x in xs: do(x)", "def each(xs, do): do(1)"),
    ("assert convert('3', int) == 3", "", "def convert(s, kind): return kind(s)", "def convert(s, kind): return s"),
    ("from itertools import count\nassert take(count(3), 2) == [3, 4]", "",
     "def take(it, n): return [next(it) for _ in range(n)]", "def take(it, n): return [1, 2]"),
    ("root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nassert height(root) == 3", "",
     NODE + "def height(n): return 0 if n is None else 1 + max(height(n.left), height(n.right))",
     NODE + "def height(n): return 2"),
    ("root = Node(1)\nroot.left = Node(2)\nassert height(root) == 2", NODE,
     "def height(n): return 0 if n is None else 1 + max(height(n.left), height(n.right))", "def height(n): return 1"),
    (NODE + "root = Node(1)\nroot.left = Node(2)\nassert height(root) == 2", "",
     "def height(n): return 0 if n is None else 1 + max(height(n.left), height(n.right))", "def height(n): return 1"),
    (POINT + "assert total([Point(1, 2), Point(3, 4)]) == 10", "",
     "def total(ps): return sum(p.x + p.y for p in ps)", "def total(ps): return 9"),
    ("s = Stack()\ns.push(4)\nassert len(s) == 1 and s[0] == 4 and list(s) == [4] and 4 in s", "",
     "class Stack(list):\n    push = list.append\nclass Stack:\n    def __init__(self): self.x = []\n"
     "    def push(self, v): self.x.append(v)\n    def __len__(self): return len(self.x)\n"
     "    def __getitem__(self, i): return self.x[i]", "class Stack:\n    def push(self, v): pass"),
    ("assert isinstance(make(3), Box) and make(3).value == 3", "",
     "class Box:\n    def __init__(self, v): self.value = v\nmake = Box", "class Box: pass\ndef make(v): return v"),
    ("assert str(Fraction2(1, 2)) == '1/2'", "",
     "class Fraction2:\n    def __init__(self, a, b): self.a, self.b = a, b\n    def __str__(self): return f'{self.a}/{self.b}'",
     "class Fraction2:\n    def __init__(self, a, b): pass"),
    ("assert (Vec(1) + Vec(2)).x == 3", "",
     "class Vec:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return Vec(self.x + o.x)",
     "class Vec:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return self"),
    ("try:\n    f(-1)\n    assert False\nexcept MyError as e:\n    assert str(e) == 'no'\nassert f(1) == 1", "",
     "class MyError(Exception): pass\ndef f(n):\n    if n < 0: raise MyError('no')\n    return n",
     "class MyError(Exception): pass\ndef f(n): return n"),
    ("try:\n    f(-1)\nexcept Base:\n    pass\nelse:\n    assert False", "",
     "class Base(Exception): pass\nclass Mine(Base): pass\ndef f(n): raise Mine(n)",
     "class Base(Exception): pass\ndef f(n): raise ValueError(n)"),
    ("import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(Odd):\n            f(1)\n"
     "T().test()\nassert f(2) == 1", "",
     "class Odd(ValueError): pass\ndef f(n):\n    if n % 2: raise Odd\n    return n // 2",
     "class Odd(ValueError): pass\ndef f(n): return n // 2"),
    ("def check(candidate):\n    assert candidate(n = 1) == 2\ncheck(Solution().f)", "from typing import *\nfrom collections import *\n",
     "from __future__ import annotations\nclass Solution:\n    def f(self, n: int) -> int: return n + 1",
     "class Solution:\n    def f(self, n): return n"),
]  # fmt: skip

# Objects of the solution that would decide a comparison: none of them does.
CHEATS = {
    "equal": "class A:\n    __eq__ = lambda s, o: True\n    __hash__ = None\ndef f(*a): return A()",
    "numbers": "class A(float):\n    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = lambda s, o: True\ndef f(*a): return A(5)",
    "arithmetic": "class A:\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0\n    __lt__ = __le__ = __gt__ = lambda *a: True\n"
    "def f(*a): return A()",
    "contains": "class A:\n    __contains__ = lambda s, o: True\n    __len__ = lambda s: 3\n    __iter__ = lambda s: iter([])\n"
    "def f(*a): return A()",
    "lent": "def f(g, *a):\n    import builtins\n    for n in ('__globals__', '__closure__', '__code__', '__self__'):\n"
    "        try: getattr(g, n)\n        except Exception: pass\n    return 0",
}  # fmt: skip
CHEATED = [
    "assert f(5) == 11",
    "assert f(5) in (11, 12)",
    "assert abs(f(5) - 11) < 1e-6",
    "assert 10 < f(5)",
    "assert 11 in f(5)",
    "assert 7 <= f(5) <= 11 and f(6) == 13",
    "assert f(lambda x: 11, 5) == 11",
    "assert f(5) == f(6) + 11",
    "assert f(5) != 0 and f(5) == 11",
]


def answer(tests: str, prefix: str = "") -> str:
    """A task's answer."""
    return json.dumps({"functional": tests, "prefix": prefix})
