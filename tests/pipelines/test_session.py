"""Which Ray a job works on."""

import pytest

from pipelines import session


@pytest.mark.parametrize("address", [None, "192.0.2.1:6379"])
def test_a_cluster_is_joined_where_it_is_named_only(address, monkeypatch):
    """Not one that `ray start` has left on this machine, which would also hide the driver's environment."""
    asked = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    with session.ray_session():
        pass
    assert asked.get("address") == (None if address else "local")
    assert ("include_dashboard" in asked) == (address is None)
