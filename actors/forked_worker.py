"""Ray's command for a worker of a local Ray: a fork of the fork server (`fork_server.py`) instead of a new process.

Ray runs this file in place of its own `setup_worker.py`, with the same arguments. Only the standard library, and little
of it: this process does nothing but wait for its worker. A worker with an interpreter or a container of its own, or
whose server is gone, is started by Ray's script.
"""

import array
import json
import os
import signal
import socket
import struct
import sys

CONTEXT = "--serialized-runtime-env-context="
HEADER = struct.Struct("!I")


def main() -> int:
    """Start the worker and wait for it; returns its exit status."""
    given = sys.argv[1:]
    contexts = [one[len(CONTEXT) :] for one in given if one.startswith(CONTEXT)]
    command = [one for one in given if not one.startswith((CONTEXT, "--language="))]
    context = json.loads(contexts[0]) if contexts else {}
    plain = not (context.get("command_prefix") or context.get("override_worker_entrypoint"))
    same = context.get("py_executable") in (None, sys.executable)
    if plain and same and "--language=PYTHON" in given and command[0].endswith("default_worker.py"):
        status = _forked(command, context.get("env_vars") or {})
        if status is not None:
            return status
    scripts = [one for one in command if one.endswith("default_worker.py")]
    if not contexts:
        os.execv(sys.executable, [sys.executable, *command])
    setup = os.path.join(os.path.dirname(scripts[0]), "setup_worker.py")
    os.execv(sys.executable, [sys.executable, setup, *given])


def _forked(command: list[str], variables: dict[str, str]) -> int | None:
    """The exit status of a forked worker, or None if the server forked none."""
    with open("/proc/self/oom_score_adj") as file:
        oom_score = file.read()
    order = {
        "command": command,
        "variables": variables,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score": oom_score,
        "blocked_signals": [int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    }
    body = json.dumps(order).encode()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(os.environ["BOTS_FORK_SERVER"])
        streams = array.array("i", [0, 1, 2])
        server.sendmsg([HEADER.pack(len(body))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        server.sendall(body)
        forked = server.recv(HEADER.size)
    except (OSError, KeyError):
        return None
    if not forked:
        return None
    status = server.recv(HEADER.size)
    # Without one the server has ended, which the worker outlives; Ray knows the worker by its own process id.
    return int(HEADER.unpack(status)[0]) if status else 0


if __name__ == "__main__":
    sys.exit(main())
