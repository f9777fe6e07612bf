"""The command `bots`: configurations by name, a clear message for a missing package, the version."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import bots
from pipelines import cli
from pipelines.shared.shipped import shipped, with_paths


def test_the_version_is_the_packages(capsys):
    assert bots.__version__ == version("bots-rft")
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bots-rft {version('bots-rft')}\n"


def test_shipped_configurations_have_names():
    assert {"lab", "guru_math_1.5b", "smollm2"} <= set(shipped("train"))
    assert shipped("train") == shipped("pool") == shipped("embed")
    assert set(shipped("study")) == {"study", "study_smollm2"}
    assert set(shipped("anchors")) == {"lab_anchors"}
    assert "sim_lab" in shipped("simulate")
    assert not {"study", "lab_anchors", "sim_lab"} & set(shipped("train"))
    assert {"sim_grid", "lab_asha"} <= set(shipped("tune"))
    lab = str(shipped("train")["lab"])
    assert with_paths("train", ["lab", "run.name=x"]) == [lab, "run.name=x"]
    assert with_paths("train", ["--dry-run", "lab"]) == ["--dry-run", lab]
    assert with_paths("train", ["configs/lab.yaml"]) == ["configs/lab.yaml"]
    assert with_paths("watch", ["lab"]) == ["lab"]
    assert with_paths("study", ["mine.yaml", "--part", "lab"]) == ["mine.yaml", "--part", "lab"]


def test_a_file_or_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").write_text("")
    assert with_paths("train", ["lab"]) == ["lab"]


def test_plug_ins_in_the_current_folder_are_found(tmp_path):
    """As with `python -m pipelines.train`; the console command alone has its own folder on the path."""
    (tmp_path / "my_loss.py").write_text("def loss(logprobs, batch, scale=1.0):\n    return logprobs.sum()\n")
    bots_command = [str(Path(sys.executable).parent / "bots"), "train", "lab", "--dry-run"]
    job = subprocess.run(
        [*bots_command, "learner.loss=my_loss:loss", "learner.loss_options={q: 1}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert job.returncode == 2
    assert "loss 'my_loss:loss': got an unexpected keyword argument 'q'" in job.stderr, "it was loaded"


def test_an_unknown_name_lists_the_known_ones(capsys):
    assert cli.main(["train", "labb"]) == 2
    assert (
        "there is no configuration 'labb'; those that come along are guru_code_7b, "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("job", "missing", "extra"),
    [("train", "ray", "ray"), ("simulate", "yaml", "ray"), ("tune", "rich", "ray")],
)
def test_a_missing_package_is_named_with_its_extra(job, missing, extra):
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom pipelines.cli import main\n"
    code += f"sys.exit(main([{job!r}, 'x.yaml']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (
        f"bots {job}: {missing} is not installed. It comes with pip install 'bots-rft[{extra}]'"
        in done.stderr
    )


def test_a_users_own_missing_module_keeps_its_traceback(monkeypatch):
    monkeypatch.setitem(cli.JOBS, "own", ("no_such_module_of_mine", ""))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_mine"):
        cli.main(["own"])
