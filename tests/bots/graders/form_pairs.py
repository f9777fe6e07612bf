"""The graders of form: completions that have the form, and that lack it, around contents of many notations."""

CONTENTS = [
    "1", "-3.5", "1e3", r"\frac{1}{2}", "50\\%", "{1, 2}", "(0, 1]", "x + 1 = y", "blue", "naïve", "3 km",
    r"\text{yes}",
]  # fmt: skip

# For each grader: shells that have the form, and shells that lack it. CONTENT stands for the content.
SHELLS: dict[str, tuple[list[str], list[str]]] = {
    "format_boxed": (
        [r"\boxed{CONTENT}", r"So $\boxed{CONTENT}$.", r"\fbox{CONTENT}", r"\boxed{0} no: \boxed{ CONTENT }",
         "<think>hm</think>\\[ \\boxed{CONTENT} \\]"],
        ["CONTENT", r"\boxed{CONTENT", r"<think>\boxed{CONTENT}</think> done", "boxed{CONTENT}",
         "<answer>CONTENT</answer>"],
    ),
    "format_answer_tags": (
        ["<answer>CONTENT</answer>", "So:\n<answer>\nCONTENT\n</answer>", "<ANSWER>CONTENT</ANSWER> bye",
         "<answer>0</answer> no <answer>CONTENT</answer>", "<think>hm</think><answer>CONTENT</answer>"],
        ["CONTENT", "<answer>CONTENT", "CONTENT</answer>", "<think><answer>CONTENT</answer></think> done",
         "CONTENT <answer></answer>"],
    ),
    "format_think": (
        ["<think>hm</think> CONTENT", "hm, CONTENT</think>CONTENT", "<think>\nCONTENT?\n</think>\n\nCONTENT",
         "\n<think>a\nb</think>CONTENT", "CONTENT or not</think>\n<answer>CONTENT</answer>"],
        ["CONTENT", "<think>CONTENT", "<think></think> CONTENT", "<think>CONTENT</think>  ",
         "<think>a</think> CONTENT <think>b</think> c"],
    ),
    "format_code_block": (
        ["```python\nx = 'CONTENT'\n```", "Here:\n```py\n# CONTENT\n```\nDone.", "```\nprint('CONTENT')\n```",
         "<think>```</think>\n```python\nCONTENT\n```", "```python\na\n```\n```python\nCONTENT\n```"],
        ["CONTENT", "```python\nCONTENT", "```text\nCONTENT\n```", "<think>```python\nCONTENT\n```</think>",
         "`CONTENT`"],
    ),
}  # fmt: skip

HAS = [(g, s.replace("CONTENT", c)) for g, (shells, _) in SHELLS.items() for s in shells for c in CONTENTS]
LACKS = [(g, s.replace("CONTENT", c)) for g, (_, shells) in SHELLS.items() for s in shells for c in CONTENTS]
