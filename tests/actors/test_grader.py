"""The grader actor in a real Ray."""

import json

import pytest
import ray

from bots.sandbox import Sandbox, SandboxUnavailableError

pytestmark = pytest.mark.usefixtures("cluster")


def test_the_actor_grades_counts_and_outlives_bad_graders() -> None:
    from actors.grader import Grader

    bad = "tests.bots.graders.own_graders:misbehave"
    actor = Grader.options(num_cpus=1).remote(2, time_limit=1.0, graders=["lab_math", "math", bad])
    items = [("lab_math", "1+2", "3", ";3"), ("math", "", "1/2", r"\boxed{0.5}"), (bad, "", "", "hang"),
             (bad, "", "", "die"), ("lab_math", "1+2", "3", ";4")]  # fmt: skip
    results = ray.get(actor.grade.remote(items))
    assert [result.reward for result in results] == [1.0, 1.0, None, None, 0.0]
    stats = ray.get(actor.stats.remote())
    assert (stats["graded"], stats["failures"], stats["timeouts"], stats["deaths"]) == (3, 2, 1, 1)
    assert stats["busy_seconds"] > 1
    ray.kill(actor)


def test_the_actor_runs_programs_in_the_sandbox() -> None:
    from actors.grader import Grader

    try:
        Sandbox().close()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    actor = Grader.options(num_cpus=1).remote(
        2, time_limit=60.0, graders=["code"], code_limits={"cpu_seconds": 2}
    )
    tests = json.dumps({"inputs": ["2", "3"], "outputs": ["4", "9"]})
    right, wrong = "```python\nprint(int(input()) ** 2)\n```", "```python\nimport os\nos.kill(-1, 9)\n```"
    results = ray.get(actor.grade.remote([("code", "", tests, right), ("code", "", tests, wrong)] * 10))
    assert [result.reward for result in results] == [1.0, 0.0] * 10
    ray.kill(actor)


def test_a_bad_constructor_argument_is_reported() -> None:
    from actors.grader import Grader

    actor = Grader.options(num_cpus=0.1).remote(2, graders=["magic"])
    with pytest.raises(ray.exceptions.RayActorError, match="unknown grader 'magic'"):
        ray.get(actor.ready.remote())
