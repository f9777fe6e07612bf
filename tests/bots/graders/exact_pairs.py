"""The exact grader: (the task's answer, completion) that are right, and that are not."""

RIGHT: list[tuple[str, str]] = [
    (answer, form % said)
    for answer, said in [
        ("blue", "blue"), ("blue", "Blue"), ("blue", " BLUE "), ("Paris", '"Paris"'), ("Paris", "'paris'"),
        ("New York", "new  york"), ("42", "42"), ("-1", "-1"), ("1e3", "1e3"), ("a,b", "a,b"), ("x = y", "x = y"),
        ("naïve", "naïve"), ("naïve", "nai\u0308ve"), ("½", "1⁄2"), ("ｗｉｄｅ", "wide"), ("straße", "STRASSE"),
        ("U", "`U`"), ("stop", "stop."), ("[1, 2]", "[1, 2]"), ("yes", r"\text{yes}"), ("no", "**no**"), ("3", "$3$"),
        ("a b c", "a b c"), ("…", "…"), ("«oui»", "oui"),
    ]
    for form in ("%s", "Some thoughts.\n<answer>%s</answer>", r"So \boxed{%s}", "The answer is: %s")
]  # fmt: skip

WRONG: list[tuple[str, str]] = [
    (answer, form % said)
    for answer, said in [
        ("blue", "light blue"), ("blue", "blues"), ("blue", "blue or red"), ("blue", "not blue"), ("blue", "blu"),
        ("42", "42.0"), ("42", "4 2"), ("42", "142"), ("42", "421"), ("-1", "1"), ("1e3", "1000"), ("a,b", "a, b"),
        ("a,b", "b,a"), ("x = y", "x=y"), ("naïve", "naive"), ("Paris", "Paris, France"), ("yes", "no"), ("U", "V"),
        ("[1, 2]", "[2, 1]"), ("[1, 2]", "1, 2"), ("a b c", "abc"), ("stop", "stop!"), ("", "x"), ("3", "three"),
        ("yes", "yes and no"),
    ]
    for form in ("%s", "blue\n<answer>%s</answer>", r"So \boxed{%s} is it", "42\nThe answer is: %s")
]  # fmt: skip
