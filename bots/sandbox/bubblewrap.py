"""The outer isolation: bubblewrap's command line, and the error raised if bubblewrap is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

INNER = Path(__file__).parent / "inner"
SCRATCH = "/scratch"
PROGRAM_UID = 1000  # as seen inside
OUTSIDE_UID = 65534  # "nobody": the user of a program as seen from outside, if root starts the sandbox
_READABLE = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_DEVICES = ("null", "zero", "full", "random", "urandom")


class SandboxUnavailableError(RuntimeError):
    """Programs can't be isolated on this machine; the message says how to fix it."""


def find() -> str:
    """The path of the `bwrap` program."""
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxUnavailableError(
            "grading code needs bubblewrap, and there is no `bwrap` on the PATH. Install it "
            "(Debian, Ubuntu: `apt-get install bubblewrap`; Fedora: `dnf install bubblewrap`; "
            "Alpine: `apk add bubblewrap`) on every machine that grades. Running model-written programs "
            "without it, with your user's rights, is possible only with the option "
            "`unsafe_code_without_sandbox`."
        )
    return path


def command(bwrap: str, *, info_fd: int = -1, block_fd: int = -1) -> list[str]:
    """bwrap's arguments up to the program to start: an almost empty file system, no network.

    Visible and read-only: the system's libraries, the Python installation (without its site-packages) and the
    folder `inner/`. Nothing of /etc, /home, /proc or /sys; an empty environment; five devices. With `info_fd` and
    `block_fd`, root can write the user map itself.
    """
    arguments = [
        bwrap,
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--clearenv",
    ]
    if block_fd >= 0:
        arguments += [
            "--info-fd",
            str(info_fd),
            "--userns-block-fd",
            str(block_fd),
            "--uid",
            "0",
            "--gid",
            "0",
        ]
        capabilities = ["CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"]
    else:
        arguments += ["--uid", str(PROGRAM_UID), "--gid", str(PROGRAM_UID)]
        capabilities = ["CAP_SYS_ADMIN", "CAP_SETPCAP"]
    # For the zygote, within its own user namespace: it sets up the inner isolation. Programs get no capabilities.
    arguments += ["--cap-drop", "ALL", *(word for name in capabilities for word in ("--cap-add", name))]
    arguments += ["--hostname", "sandbox"]
    binds = [*_python(), *(path for path in _READABLE if os.path.exists(path))]
    # bwrap would create the parent folders as open as they are outside (/root), or closed to programs (/usr).
    on_the_way = {
        str(parent) for path in (*binds, "/usr/lib", "/sandbox/inner") for parent in Path(path).parents
    }
    for folder in sorted(on_the_way - {"/"}):
        arguments += ["--perms", "0755", "--dir", folder]
    for folder in ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64"):
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += ["--ro-bind", folder, folder]
    for path in binds:
        arguments += ["--ro-bind", path, path]
    for folder in _site_packages():
        arguments += ["--tmpfs", folder, "--remount-ro", folder]
    arguments += ["--perms", "0755", "--tmpfs", "/dev"]
    for device in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += [
        "--proc",
        "/proc",
        "--ro-bind",
        str(INNER),
        "/sandbox/inner",
        "--perms",
        "0755",
        "--dir",
        SCRATCH,
    ]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH]
    for name, value in environment("/sandbox").items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--"]


def environment(python_path: str) -> dict[str, str]:
    """All environment variables visible to a program."""
    return {
        "PYTHONPATH": python_path,
        "PYTHONHASHSEED": "0",  # the order of a set must not change between grades
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
        # Each arena reserves 64 MiB of address space, which is limited: a dozen threads would use it up.
        "MALLOC_ARENA_MAX": "1",
        "LANG": "C.UTF-8",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
    }


def interpreter() -> list[str]:
    """The zygote's command: this same Python, without site-packages."""
    return [os.path.realpath(sys.executable), "-S", "-s", "-P", "-B", "-m", "inner.zygote"]


def _python() -> list[str]:
    """The parts of this Python outside /usr/lib: its executable and its standard library, wherever they are."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = [os.path.realpath(sys.executable), os.path.join(sys.base_prefix, "lib", version)]
    shared = os.path.join(sys.base_exec_prefix, "lib")
    paths += [str(path) for path in Path(shared).glob("libpython*.so*")]
    return [path for path in paths if not path.startswith(("/usr/lib/", "/lib/")) and os.path.exists(path)]


def _site_packages() -> list[str]:
    """Folders of installed packages inside the visible libraries, to be hidden."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = os.path.join(sys.base_prefix, "lib", version)
    candidates = [os.path.join(library, "site-packages"), "/usr/lib/python3/dist-packages"]
    return [folder for folder in candidates if os.path.isdir(folder)]
