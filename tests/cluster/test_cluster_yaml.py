"""cluster.yaml, and its variants for each cloud, against Ray's own schema and defaults."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import FileConfigReader

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text()
PINNED = {
    line.partition(";")[0].strip() for line in (ROOT / "requirements" / "gpu.txt").read_text().splitlines()
}


def for_cloud(name):
    """The file with the parts that `name` replaces removed and its own commented part enabled."""
    common, parts, current = [], {}, None
    for line in TEXT.splitlines():
        if opened := re.fullmatch(r"# >>> (\S+)(?: replaces (.+))?", line):
            current = parts[opened[1]] = {"replaces": (opened[2] or "").split(), "lines": []}
        elif line.startswith("# <<< "):
            current = None
        else:
            (common if current is None else current["lines"]).append(line)
    chosen = parts[name]
    if chosen["replaces"]:
        assert all(line.startswith("#") for line in chosen["lines"])
        common += [line[2:] for line in chosen["lines"]]
    for other, part in parts.items():
        if not part["replaces"] and other not in chosen["replaces"]:
            common += part["lines"]
    return yaml.safe_load("\n".join(common))


def prepared(name):
    config = prepare_config(for_cloud(name))
    validate_config(config)
    return config


def test_the_file_as_it_stands_is_the_one_for_aws():
    assert yaml.safe_load(TEXT) == for_cloud("aws")


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_the_head_does_no_work_and_the_others_come_and_go(cloud):
    config = prepared(cloud)
    types = config["available_node_types"]
    assert set(types) == {"head", "learner", "rollout"}
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["head"]["max_workers"] == 0
    for role in ("learner", "rollout"):
        node = types[role]
        assert node["min_workers"] == 0 < node["max_workers"]
        assert node["resources"][role] == node["resources"]["GPU"], "one place in the role for each GPU"
    assert config["max_workers"] == types["learner"]["max_workers"] + types["rollout"]["max_workers"]


@pytest.mark.parametrize(
    ("cloud", "is_spot"),
    [
        ("aws", lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"),
        ("gcp", lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT"),
        ("azure", lambda node: node["azure_arm_parameters"].get("priority") == "Spot"),
    ],
)
def test_only_rollout_machines_are_spot(cloud, is_spot):
    types = prepared(cloud)["available_node_types"]
    assert [name for name, node in types.items() if is_spot(node["node_config"])] == ["rollout"]


def test_on_prem_machines_offer_themselves_for_both_roles():
    config = prepared("on-prem")
    assert "--num-cpus=0" in config["head_start_ray_commands"][-1]
    resources = re.search(r"--resources='(.+)'", config["worker_start_ray_commands"][-1])[1]
    assert set(yaml.safe_load(resources)) == {"learner", "rollout"}


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "on-prem"])
def test_every_node_shows_the_token_and_installs_the_pinned_set(cloud):
    config = prepared(cloud)
    assert "~/.ray/auth_token" in config["file_mounts"]
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert command.index("export RAY_AUTH_MODE=token") < command.index("ray start")
    for commands in (config["head_setup_commands"], config["worker_setup_commands"]):
        assert any("-r ~/bots/requirements/gpu.txt" in command for command in commands)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "on-prem"])
def test_the_commands_are_shell(cloud):
    config = prepared(cloud)
    commands = [command for key, value in config.items() if key.endswith("_commands") for command in value]
    checked = subprocess.run(["bash", "-n"], input="\n".join(commands), capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_gpu_set_is_the_cpu_set_but_for_the_builds():
    """Packages in both sets have one version, so a run tested on CPUs uses the same libraries on GPUs."""
    for name in ("ray", "deepspeed", "transformers", "pyarrow", "numba", "numpy", "pydantic", "math-verify"):
        pins = [
            [line for line in (ROOT / "requirements" / file).read_text().splitlines()
             if re.match(rf"{name}(\[.+\])?==", line)]
            for file in ("cpu.txt", "gpu.txt")
        ]  # fmt: skip
        versions = [re.split("==| ;", found[0])[1] for found in pins]
        assert versions[0] == versions[1], name
    assert {"torch==2.13.0", "vllm==0.32.0"} <= PINNED


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "on-prem"])
def test_the_autoscaler_on_the_head_reads_the_file(cloud, tmp_path):
    """With the head's own reader: a head without a readable file would not survive."""
    file, key = tmp_path / "ray_bootstrap_config.yaml", tmp_path / "ray_bootstrap_key.pem"
    key.touch()
    config = prepared(cloud)
    config["auth"] = {"ssh_user": config["auth"]["ssh_user"], "ssh_private_key": str(key)}
    file.write_text(yaml.safe_dump(config))
    config = FileConfigReader(str(file)).get_cached_autoscaling_config()
    assert config.get_idle_timeout_s() == 600
    types = config.get_node_type_configs()
    assert sum(node.max_worker_nodes for node in types.values()) >= config.get_max_num_worker_nodes()


def test_a_part_with_a_mistake_is_noticed():
    """The schema check is no formality: a misspelt key is refused."""
    config = prepare_config(for_cloud("gcp") | {"idle_timeout": 5})
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(config)
