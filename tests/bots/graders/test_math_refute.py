"""Numbers are equal exactly or relatively: however small, two different ones are not the same."""

import pytest

from bots.graders import resolve

WRONG = [
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    (r"\frac{2^{64}}{3^{64}}", r"\frac{2^{65}}{3^{65}}"),
    (r"1-\left(\frac56\right)^{200}", r"1-\left(\frac56\right)^{201}"),
    ("0.0000012", "0.0000014"),
    (r"1.6\times 10^{-19}", r"3.2\times 10^{-19}"),
    (r"\{1, 2^{-99}\}", r"\{1, 2^{-98}\}"),
    (r"\frac{x}{2^{99}}", r"\frac{x}{2^{98}}"),
    ("(a,b)=(1,2)", "(a,b)=(2,1)"),
    ("(a,b)=(1,2)", "(b,a)=(1,2)"),
    ("(a,b)=(1,2)", "(2,1)"),
    (r"a, b, \ldots", r"a, c, \ldots"),
    (r"1, 2, \ldots, n", r"1, 3, 5, \ldots, 2n-1"),
    (r"10\,000", "0"),
    ("26", r"2\,024"),
    ("12", "9^{9^9}"),
    ("12", "(x+1)^{5000}"),
    ("12", r"\tan\tan\tan\tan\tan\tan 5"),
]
RIGHT = [
    (r"\frac{1}{2^{99}}", "2^{-99}"),
    ("0.0000012", r"1.2\times 10^{-6}"),
    ("(a,b)=(1,2)", "(1,2)"),
    ("12", r"12\,"),
    ("12", r"\,12\,"),
    ("12", r"12\;"),
    ("12", r"12\ "),
    ("12", "12~"),
    ("10000", r"10\,000"),
    ("10000", "10 000"),
    ("10000", "10~000"),
    ("1234567", r"1\,234\,567"),
    (r"1-\frac1e", r"1-\frac{1}{\mathrm{e}}"),
    ("1+2i", r"1+2\mathrm{i}"),
    ("5", r"\color{blue}{5}"),
    ("5", r"\underline{5}"),
    ("€30", "30"),
    ("1/2", "½"),
    ("(3,4)", r"\langle 3,4\rangle"),
    ("DNE", r"\text{does not exist}"),
    (r"0.\overline{3}", "1/3"),
    (r"\frac{\pi}{4}+k\pi", r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}"),
    (r"1, 2, \ldots, n", r"1,2,\ldots,n"),
]


@pytest.mark.parametrize(("answer", "said"), WRONG)
def test_a_wrong_answer_earns_nothing(answer: str, said: str) -> None:
    assert resolve("math")("", answer, f"So $\\boxed{{{said}}}$.").reward == 0.0


@pytest.mark.parametrize(("answer", "said"), RIGHT)
def test_the_same_in_another_spelling(answer: str, said: str) -> None:
    assert resolve("math")("", answer, f"So $\\boxed{{{said}}}$.").reward == 1.0
