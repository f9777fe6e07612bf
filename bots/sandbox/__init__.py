"""Runs hostile programs: bubblewrap outside; namespaces, limits and a system call filter around each program."""

from bots.sandbox.bubblewrap import SandboxUnavailableError
from bots.sandbox.limits import Limits, Outcome, Verdict
from bots.sandbox.sandbox import Sandbox, SandboxFaultError

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxFaultError", "SandboxUnavailableError", "Verdict"]
