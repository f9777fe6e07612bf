import numpy as np
import pytest

from bots.lab.families import FAMILIES
from bots.lab.graders import GRADERS
from bots.lab.sampling import MAX_NEW_TOKENS
from bots.lab.tokenizer import CHARACTERS, MAX_LENGTH


@pytest.mark.parametrize("domain", FAMILIES)
def test_every_level_has_a_solution_that_its_grader_accepts_and_that_fits(domain: str) -> None:
    family, rng = FAMILIES[domain], np.random.default_rng(0)
    for level in range(1, family.max_level + 1):
        for _ in range(40):
            problem = family.sample(level, rng)
            grade = GRADERS[family.grader](problem.prompt, problem.answer, problem.solution)
            assert grade.reward == 1.0, (problem, grade)
            assert set(problem.prompt + problem.solution) <= set(CHARACTERS)
            assert len(problem.solution) < MAX_NEW_TOKENS
            assert 2 + len(problem.prompt) + MAX_NEW_TOKENS <= MAX_LENGTH


@pytest.mark.parametrize("domain", FAMILIES)
def test_no_constant_answer_earns_more_than_a_guess(domain: str) -> None:
    """What a model could learn by heart: the commonest solution of the hardest levels must not pay."""
    family, rng = FAMILIES[domain], np.random.default_rng(1)
    problems = [family.sample(family.max_level, rng) for _ in range(300)]
    guesses = [problem.solution for problem in problems[:20]] + ["0;0", ";50", "ABCD", "0", "x"]
    for guess in guesses:
        right = sum(GRADERS[family.grader](p.prompt, p.answer, guess).reward for p in problems[20:])
        assert right <= 0.05 * len(problems), guess
