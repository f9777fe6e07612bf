"""rayjob.yaml: against KubeRay's field names, the code that reads it on the cluster, and the CRD."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from bots.config.train import load_config

ROOT = Path(__file__).parents[2]
CLAIM, JOB = yaml.safe_load_all((ROOT / "rayjob.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}

# Field names of ray.io/v1 in KubeRay 1.6's API reference: Kubernetes silently drops others.
JOB_FIELDS = """activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus
    entrypointNumGpus entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec
    runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend
    ttlSecondsAfterFinished"""
CLUSTER_FIELDS = """authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec
    headServiceAnnotations managedBy rayVersion suspend upgradeStrategy workerGroupSpecs"""
GROUP_FIELDS = """groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts rayStartParams replicas
    resources scaleStrategy suspend template"""


def autoscaler_config():
    """What the autoscaler's container makes of the manifest; Ray checks it against its own schema."""
    resource = {"metadata": {"name": "bots", "namespace": "default"}, "spec": CLUSTER}
    return _derive_autoscaling_config_from_ray_cr(resource)


def test_every_field_is_one_that_kuberay_knows():
    assert set(JOB["spec"]) <= set(JOB_FIELDS.split())
    assert set(CLUSTER) <= set(CLUSTER_FIELDS.split())
    for group in GROUPS.values():
        assert set(group) <= set(GROUP_FIELDS.split())


def test_rays_autoscaler_reads_the_groups_as_cluster_yaml_has_them():
    config = autoscaler_config()
    machines = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    nodes = config["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    for role in ("learner", "rollout"):
        assert (nodes[role]["min_workers"], nodes[role]["max_workers"]) == (
            machines[role]["min_workers"],
            machines[role]["max_workers"],
        )
        for kind in ("GPU", role):
            assert nodes[role]["resources"][kind] == machines[role]["resources"][kind]
    assert config["idle_timeout_minutes"] == 10


def test_only_rollout_pods_go_to_spot_nodes():
    pods = {name: group["template"]["spec"] for name, group in GROUPS.items()}
    assert [name for name, pod in pods.items() if "nodeSelector" in pod] == ["rollout"]
    label, value = next(iter(pods["rollout"]["nodeSelector"].items()))
    tolerated = {(t["key"], t.get("value")) for t in pods["rollout"]["tolerations"]}
    assert (label, value) in tolerated, "a spot node's taint keeps pods away that do not tolerate it"
    assert all(t["key"] != label for t in pods["learner"]["tolerations"])


def test_every_pod_mounts_the_claim_where_the_configuration_keeps_its_runs():
    for group in [CLUSTER["headGroupSpec"], *GROUPS.values()]:
        pod = group["template"]["spec"]
        volumes = {v["name"]: v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]}
        paths = {m["mountPath"]: volumes[m["name"]] for m in pod["containers"][0]["volumeMounts"]}
        assert paths["/mnt/bots"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_first_attempt_starts_the_run_and_a_retry_resumes_it(tmp_path, resumed):
    """The entrypoint runs as Ray runs it, by a shell, with `bots` reporting its arguments."""
    bots = tmp_path / "bots"
    bots.write_text('#!/bin/sh\necho "$@"\n')
    bots.chmod(0o755)
    run = load_config(ROOT / "configs" / "guru_math_7b.yaml").run
    assert f"test -e {run.path}/config.yaml" in JOB["spec"]["entrypoint"]
    if resumed:
        (tmp_path / "config.yaml").touch()
    # The operator splits the entrypoint into words, and `ray job submit` joins them again.
    entrypoint = subprocess.list2cmdline(shlex.split(JOB["spec"]["entrypoint"]))
    done = subprocess.run(
        entrypoint.replace(f"{run.path}/", f"{tmp_path}/"),
        shell=True, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip
    asked = "train guru_math_7b" + (" --resume" if resumed else "")
    assert (done.stdout, done.stderr) == (asked + "\n", "")


def test_the_job_has_longer_than_three_seconds_to_stop():
    variables = yaml.safe_load(JOB["spec"]["runtimeEnvYAML"])["env_vars"]
    assert all(isinstance(value, str) for value in variables.values())
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no file with the RayJob CRD")
def test_the_manifest_fits_the_custom_resource_definition():
    """`kubectl get crd rayjobs.ray.io -o yaml > crd.yaml; KUBERAY_CRD=crd.yaml pytest tests/cluster`."""
    crd = yaml.load(Path(os.environ["KUBERAY_CRD"]).read_text(), Loader=yaml.CSafeLoader)
    versions = {v["name"]: v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"]}
    schema = strict(versions["v1"]) | {"required": ["spec"]}
    schema["properties"]["metadata"] = {"type": "object"}
    faults = [f"{list(e.path)}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(JOB)]
    assert faults == []


def strict(schema: Any) -> Any:
    """A structural schema that refuses the fields that Kubernetes would drop."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
