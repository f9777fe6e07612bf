"""The grading processes: no grader can hang the caller, and no failure becomes a reward."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bots.graders import UnknownGraderError
from bots.graders.code import CodeOptions
from bots.graders.workers import Workers
from bots.sandbox import SandboxUnavailableError

OWN = "tests.bots.graders.own_graders"
BAD = f"{OWN}:misbehave"
GOOD = (BAD, "", "", "fine")


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, time_limit=1.0, memory_limit=1 << 30, graders=[BAD, "lab_math"]) as pool:
        yield pool


def test_results_come_in_order(workers: Workers) -> None:
    items = [("lab_math", "", str(n), f"x;{n if n % 3 else -1}") for n in range(1000)]
    assert [result.reward for result in workers.grade(items)] == [float(n % 3 > 0) for n in range(1000)]
    assert workers.grade([]) == []
    assert len(workers.grade(items[:1])) == 1


@pytest.mark.parametrize(
    ("completion", "reason", "count"),
    [
        ("hang", "time limit of 1 s", "timeouts"),
        ("sleep", "time limit of 1 s", "timeouts"),
        ("hang in C", "time limit of 1 s", "timeouts"),
        ("deaf", "time limit of 1 s", "timeouts"),
        ("die", "process died", "deaths"),
        ("killed", "process died", "deaths"),
        ("crash", "process died", "deaths"),
        ("leave", "SystemExit", "restarts"),
        ("memory", "out of memory", "restarts"),
        ("raise", "RuntimeError: out of order", "failures"),
        ("too much", "reward 1.5", "failures"),
        ("negative", "reward -0.1", "failures"),
        ("nan", "reward nan", "failures"),
        ("nothing", "TypeError", "failures"),
    ],
)
def test_a_bad_grader_costs_one_sample_and_is_counted(
    workers: Workers, completion: str, reason: str, count: str
) -> None:
    before = workers.stats()
    items = [GOOD] * 5 + [(BAD, "", "", completion)] + [GOOD] * 20
    results = workers.grade(items)
    after = workers.stats()
    assert results[5].reward is None
    assert reason in results[5].reason
    assert "misbehave" in results[5].reason
    assert [result.reward for result in results[:5] + results[6:]] == [1.0] * 25
    assert after["failures"] == before["failures"] + 1
    assert after["graded"] == before["graded"] + 25
    assert after[count] == before[count] + 1
    assert after["workers"] == 2


def test_unknown_graders_and_broken_tasks_are_failures_too(workers: Workers) -> None:
    results = workers.grade(
        [
            ("magic", "", "", ""),
            (f"{OWN}:absent", "", "", ""),
            ("logic", "", '{"rows": 3}', "<answer>1</answer>"),
        ]
    )
    assert [result.reward for result in results] == [None] * 3
    assert "unknown grader 'magic'" in results[0].reason
    assert "absent" in results[1].reason
    assert "ValueError" in results[2].reason


def test_many_bad_ones_at_once(workers: Workers) -> None:
    items = [GOOD, (BAD, "", "", "die")] * 10 + [(BAD, "", "", "raise")] * 5
    rewards = [result.reward for result in workers.grade(items)]
    assert rewards == [1.0, None] * 10 + [None] * 5


def test_a_users_own_grader_may_give_a_number() -> None:
    with Workers(1, graders=[f"{OWN}:length", f"0.5*{OWN}:half + 0.5*exact"]) as pool:
        assert pool.grade([(f"{OWN}:length", "", "", "abcde")])[0].reward == 0.5
        assert pool.grade([(f"0.5*{OWN}:half + 0.5*exact", "", "a", "a")])[0].reward == 0.75


def test_from_several_threads(workers: Workers) -> None:
    rewards: list[list[float | None]] = [[] for _ in range(8)]

    def ask(number: int) -> None:
        items = [("lab_math", "", str(number), f";{number}"), ("lab_math", "", "1", ";2")] * 50
        rewards[number] = [result.reward for result in workers.grade(items)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rewards == [[1.0, 0.0] * 50] * 8


def test_the_nursery_is_replaced_as_well(workers: Workers) -> None:
    workers._nursery._process.kill()
    workers._nursery._process.wait()
    # The workers die with the nursery; what they had in hand is failed or graded by their successors.
    time.sleep(0.2)
    workers.grade([GOOD] * 10)
    assert [result.reward for result in workers.grade([GOOD] * 10)] == [1.0] * 10


def test_nothing_is_left_behind_even_if_the_owner_is_killed() -> None:
    code = (
        "from bots.graders.workers import Workers; import os, sys\n"
        "w = Workers(2); print(w._nursery._process.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.getcwd(),
    )
    assert owner.stdout is not None
    nursery = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.communicate()
    for _ in range(100):
        if not os.path.exists(f"/proc/{nursery}"):
            return
        time.sleep(0.1)
    pytest.fail("the nursery outlived its owner")


def test_what_is_wrong_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownGraderError, match=r"magic.*lab_math"):
        Workers(1, graders=["magic"])
    with pytest.raises(ValueError, match="weights sum to"):
        Workers(1, graders=["0.5*exact + 0.6*math"])
    with pytest.raises(ValueError, match="at least 1"):
        Workers(0)
    with pytest.raises(ValueError, match="time limit"):
        Workers(1, time_limit=0.0)
    with pytest.raises(ValueError, match="memory limit"):
        Workers(1, memory_limit=1)
    with pytest.raises(ValueError, match="both together"):
        Workers(1, time_limit=5.0, graders=["0.9*code + 0.1*format_code_block"])
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailableError, match="apt-get install bubblewrap"):
        Workers(1, time_limit=60.0, graders=["0.9*code + 0.1*format_code_block"])
    unsafe = CodeOptions(unsafe_code_without_sandbox=True)
    with Workers(1, time_limit=60.0, graders=["code"], code=unsafe) as pool:
        item = ("code", "", '{"inputs": ["2"], "outputs": ["4"]}', "```python\nprint(int(input()) ** 2)\n```")

        assert pool.grade([item])[0].reward == 1.0


def test_what_cant_be_compared_in_time_is_wrong_unless_the_answer_is_at_fault(workers: Workers) -> None:
    slow = f"{OWN}:slow_to_compare"
    results = workers.grade([(slow, "", "12", "a tower"), (slow, "", "hang", "12"), GOOD])
    assert [result.reward for result in results] == [0.0, None, 1.0]


def test_plain_answers_survive_their_neighbours_time_limits() -> None:
    tower = (f"{OWN}:slow_to_compare", "", "12", "")
    plain = [("math", "", str(number), f"\\boxed{{{number}}}") for number in range(60)]
    with Workers(1, time_limit=1.0, graders=["math", tower[0]]) as pool:
        results = pool.grade([*plain[:30], tower, *plain[30:45], tower, *plain[45:]])
    rewards = [result.reward for result in results]
    assert rewards.count(0.0) == 2
    assert rewards.count(1.0) == 60


def test_a_loaded_machine_takes_no_time_from_a_grade() -> None:
    """Eight processes share a core with the grading one, which has then an eighth of the time on the clock."""
    (core, *_) = os.sched_getaffinity(0)
    spin = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    busy = f"{OWN}:busy"
    with Workers(1, time_limit=0.4, graders=[busy]) as pool:
        worker = pool._workers[0]
        with open(f"/proc/self/fdinfo/{worker.pidfd}") as lines:
            pid = next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
        os.sched_setaffinity(pid, {core})
        load = [subprocess.Popen([sys.executable, "-S", "-c", spin]) for _ in range(8)]
        try:
            time.sleep(0.5)
            started = time.monotonic()
            (result,) = pool.grade([(busy, "", "", "0.15")])
            seconds = time.monotonic() - started
            assert result.reward == 1.0
            assert seconds > 0.4  # longer than the limit, on the clock
            assert pool.grade([(busy, "", "", "60")])[0].reward is None
        finally:
            for one in load:
                one.kill()
                one.wait()
