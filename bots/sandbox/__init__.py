"""Running hostile programs: bubblewrap outside; namespaces, limits and a call filter around each one."""

from bots.sandbox.bubblewrap import SandboxUnavailableError
from bots.sandbox.sandbox import Limits, Outcome, Sandbox, SandboxFaultError, Verdict

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxFaultError", "SandboxUnavailableError", "Verdict"]
