"""Whether an autoscaler can ever bring what a run asks for, as the autoscaler itself says."""

from __future__ import annotations

import json

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]
from ray.experimental.internal_kv import _internal_kv_get

_REPORT = "__autoscaling_status"
_UNMANAGED = "node_"
"""How Ray names the type of a node that no autoscaler has started; the node's id follows."""


def hopeless() -> str | None:
    """Why no node will come for what was asked by `request_resources`; None if one may, or it is not known yet.

    The autoscaler looks at a request every few seconds: ask again.
    """
    status = GetClusterStatusReply()
    address = ray.get_runtime_context().gcs_address
    status.ParseFromString(GcsClient(address).get_cluster_status(timeout_s=10))
    # Version 2 of the autoscaler says what none of its node types can hold.
    refused = [
        bundle.request.resources_bundle
        for constraint in status.autoscaling_state.infeasible_cluster_resource_constraints
        for bundle in constraint.resource_requests
    ]
    if refused:
        kinds = ", ".join(sorted({str(dict(bundle)) for bundle in refused}))
        return f"the autoscaler has no node type for {kinds}"
    report = _internal_kv_get(_REPORT)
    nodes = json.loads(report).get("autoscaler_report", {}).get("node_type_mapping") if report else None
    if nodes and all(kind.startswith(_UNMANAGED) for kind in nodes.values()):
        return "the cluster has no autoscaler (it was started by `ray start` alone)"
    return None
