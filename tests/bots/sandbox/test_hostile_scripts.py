"""Every hostile script loses, and leaves the sandbox and the host as they were."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bots.graders.code import same_output
from bots.sandbox import Sandbox
from tests.bots.sandbox.hostile_scripts import SCRIPTS

RIGHT = "the-right-answer"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the scripts are after: a file, an environment variable, two listening sockets, a process."""
    secret = tmp_path_factory.mktemp("home") / "secret.txt"
    secret.write_text("BREACH: the user's secret")
    secret.chmod(0o666)
    abstract = f"bots-test-{os.getpid()}"
    assert not Path("/tmp/x").exists(), "scripts try to write it; remove it first"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        os.environ["BOTS_SECRET"] = "BREACH"
        bystander = subprocess.Popen(["sleep", "600"])
        yield {"secret": str(secret), "port": str(tcp.getsockname()[1]), "abstract": abstract}
        assert bystander.poll() is None, "a script killed a process of the host"
        bystander.kill()
        bystander.wait()
        del os.environ["BOTS_SECRET"]
    assert secret.read_text() == "BREACH: the user's secret"
    assert not Path("/tmp/x").exists()


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_loses(name: str, sandbox: Sandbox, host: dict[str, str]) -> None:
    source = SCRIPTS[name]
    for key, value in host.items():
        source = source.replace("{" + key + "}", value)
    outcome = sandbox.run(source, "input")
    passed = outcome.succeeded and same_output(outcome.stdout.decode(errors="replace"), RIGHT)
    assert b"BREACH" not in outcome.stdout
    assert not passed
    assert len(outcome.stdout) <= sandbox.limits.output_bytes
    # The next program is as well off as if nothing had happened.
    after = sandbox.run("import os\nprint(input()[::-1], os.listdir('.'))", "drawer")
    assert after.stdout == b"reward []\n"


def test_there_are_at_least_forty() -> None:
    assert len(SCRIPTS) >= 40


def test_the_same_scripts_would_pass_for_a_right_program(sandbox: Sandbox) -> None:
    outcome = sandbox.run("print('the-right-' + 'answer')", "input")
    assert outcome.succeeded
    assert same_output(outcome.stdout.decode(), RIGHT)
