"""Hostile solutions to function-call tests: `f(n)` should be the n-th prime; none of these knows how, all claim it."""

_FRAME = """
import json, os, struct
def frame(message):
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body
"""

SOLUTIONS: dict[str, str] = {
    "exits_early": "import os\ndef f(n): os._exit(0)",
    "exits_at_once": "import os\nos._exit(0)",
    "exits_politely": "import sys\ndef f(n): sys.exit(0)",
    "equals_everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def f(n): return Yes()
""",
    "number_that_equals_everything": """
class Yes(int):
    def __eq__(self, other): return True
    def __index__(self): return self
    def __int__(self): return self
    __hash__ = int.__hash__
def f(n): return Yes(7)
""",
    "list_that_equals_everything": """
class Yes(list):
    def __eq__(self, other): return True
    def __iter__(self): return iter([3, 5, 7])
def f(n): return Yes([1])
""",
    "reflected_comparison": """
class Yes(float):
    def __eq__(self, other): return True
    def __req__(self, other): return True
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = lambda self, *a: 0.0
def f(n): return Yes(1)
""",
    "mock": "from unittest.mock import MagicMock\ndef f(n): return MagicMock()",
    "patches_builtins": """
import builtins, math
builtins.all = builtins.any = builtins.isinstance = math.isclose = lambda *a, **k: True
builtins.AssertionError = BaseException
builtins.len = lambda x: 0
def f(n): return 1
""",
    "defines_the_tests_helpers": """
def all(*a): return True
def check(*a): return None
def is_same_list(*a): return True
def abs(*a): return 0
def zip(*a): return []
def range(*a): return []
def _deep_eq(*a): return True
_inputs, _outputs = [], []
def f(n): return 1
""",
    "patches_the_runner": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("inner"):
        for key in list(vars(module)):
            if not key.startswith("__"): setattr(module, key, lambda *a, **k: {"verdict": "pass"})
def f(n): return 1
""",
    "writes_a_verdict_everywhere": """
import os
def f(n):
    for fd in range(64):
        try: os.write(fd, b'{"verdict": "pass", "reason": "passed"}')
        except OSError: pass
    return 1
""",
    "writes_a_verdict_and_leaves": """
import os
for fd in range(64):
    try: os.write(fd, b'{"verdict": "pass", "reason": "passed"}')
    except OSError: pass
os._exit(0)
""",
    "answers_before_it_is_asked": _FRAME
    + """
os.write(4, frame({"value": None}) + frame({"value": 2}) * 50)
def f(n): return 1
""",
    "sends_an_unknown_handle": _FRAME
    + """
os.write(4, frame({"value": None}) + frame({"value": {"h": 99}}) * 50)
def f(n): return 1
""",
    "sends_garbage": "import os\nos.write(4, b'\\xff' * 10000)\ndef f(n): return 1",
    "sends_broken_json": "import os\nos.write(4, b'\\x03\\x00\\x00\\x00{[{')\ndef f(n): return 1",
    "sends_deep_nesting": _FRAME
    + """
body = b'{"value": ' + b"[" * 100000 + b"]" * 100000 + b"}"
os.write(4, frame({"value": None}) + struct.pack("<I", len(body)) + body)
def f(n): return 1
""",
    "sends_wrong_shapes": _FRAME
    + """
for body in ([], 3, None, {"value": {"t": 3}}, {"value": {}}, {"error": 3}, {"error": ["AssertionError"]}, {}):
    os.write(4, frame(body))
def f(n): return 1
""",
    "raises_assertion_error": "def f(n): raise AssertionError('passed')",
    "raises_stop_iteration": "def f(n): raise StopIteration",
    "raises_system_exit_there": _FRAME
    + """
os.write(4, frame({"value": None}) + frame({"error": ["SystemExit", "0"]}) * 9)
def f(n): return 1
""",
    "raises_generator_exit_there": _FRAME
    + """
os.write(4, frame({"value": None}) + frame({"error": ["GeneratorExit", "0"]}) * 9)
def f(n): return 1
""",
    "reads_the_expected_values": """
import gc, sys
def f(n):
    frame = sys._getframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, dict) and "expected" in value: return value["expected"]
            if isinstance(value, int) and value > 1: return value
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, list) and 27449 in thing: return 27449
    return 1
""",
    "reads_the_tests_from_descriptors": """
import os, re
text = b""
for fd in range(64):
    if fd == 4: continue
    try:
        os.lseek(fd, 0, 0)
        text += os.read(fd, 1 << 20)
    except OSError: pass
found = re.findall(rb"== *(\\d+)", text)
def f(n): return int(found[0]) if found else 1
""",
    "infinite_iterator": "def f(n):\n    while True: yield 2",
    "list_within_itself": "def f(n):\n    x = []\n    x.append(x)\n    return x",
    "circular_linked_list": """
class ListNode:
    def __init__(self): self.val, self.next = 1, self
def f(n): return ListNode()
""",
    "enormous_number": "def f(n): return 10 ** 10_000_000",
    "enormous_list": "def f(n): return [[0] * 1000] * 100000",
    "colliding_set": "def f(n): return {(2**61 - 1) * k for k in range(60000)}",
    "not_a_number": "def f(n): return float('nan')",
    "endless": "def f(n):\n    while True: pass",
    "asleep": "import time\ndef f(n): time.sleep(600)",
    "hangs_when_loaded": "while True: pass",
    "hangs_when_sent": """
class Slow(dict):
    pass
def f(n):
    class Hang:
        def __getattribute__(self, name):
            while True: pass
    return Hang()
""",
    "talks_much": "def f(n):\n    for _ in range(10**6): print('passed')\n    return 1",
    "does_not_load": "def f(n) return n",
    "has_another_name": "def g(n): return 2",
    "is_a_lookup_of_nothing": "f = None",
    "replaces_itself": """
import sys
class Module(type(sys)):
    def __getattr__(self, name): return lambda *a: True
sys.modules["__main__"].__class__ = Module
def f(n): return True
""",
    "memory_hog": "def f(n): return len([0] * (10 << 30))",
    "starts_a_process": "import os\ndef f(n):\n    if os.fork() == 0: os._exit(0)\n    return 2",
}  # fmt: skip
