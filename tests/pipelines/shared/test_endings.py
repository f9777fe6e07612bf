"""Engines stop at the end-of-turn token that a chat template teaches."""

from pipelines.shared.preflight import load_inputs


def ending_with(end):
    return f"pool.template='{{% for m in messages %}}{{{{ m.content }}}}{end}{{% endfor %}}'"


def test_an_end_of_turn_that_engines_do_not_know_stops_them_and_is_said(small_job):
    # <bos> is a token of the lab's tokenizer at which its engines don't stop.
    inputs = load_inputs(small_job(ending_with("<bos>")))
    assert inputs.train.stop_ids == (1,)
    assert inputs.evaluation.stop_ids == (), "it has a template of its own"
    (warning,) = [line for line in inputs.warnings if "<bos>" in line]
    assert "pool.template=plain" in warning


def test_an_end_of_turn_that_engines_know_or_that_is_no_token_stops_nothing(small_job):
    known = load_inputs(small_job(ending_with("<eos>")))
    assert known.train.stop_ids == ()
    assert not known.warnings
    text = load_inputs(small_job(ending_with("+++")))
    assert text.train.stop_ids == ()
    assert any("with the text '+++" in line for line in text.warnings)


def test_the_shipped_template_and_plain_are_left_alone(small_job):
    for overrides in ([], ["pool.template=plain"]):
        inputs = load_inputs(small_job(*overrides))
        assert inputs.train.stop_ids == ()
        assert not inputs.warnings
