"""Hostile scripts. Each prints BREACH if it gets what it is after. None may, and none may harm what comes after it."""

_CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result, ctypes.get_errno()
"""
# x86_64 call numbers: on another machine these scripts knock at other doors, which must be shut as well.

SCRIPTS: dict[str, str] = {
    # --- too much of something
    "fork_bomb": """
import os
made = 0
for _ in range(100):
    try:
        os.fork()
        made += 1
    except OSError:
        pass
if made: print("BREACH")
""",
    "fork_by_raw_clone": _CALL
    + """
pid, _ = call(56, 17, 0, 0, 0, 0)
if pid >= 0: print("BREACH", pid)
""",
    "fork_by_clone3": _CALL
    + """
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
pid, _ = call(435, ctypes.byref(arguments), 88)
if pid >= 0: print("BREACH", pid)
""",
    "vfork": _CALL
    + """
pid, _ = call(58)
if pid > 0: print("BREACH", pid)
if pid == 0: libc._exit(0)
""",
    "thread_bomb": """
import threading, time
threading.stack_size(32768)
threads = 0
try:
    for _ in range(20000):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        threads += 1
except BaseException:
    pass
if threads > 200: print("BREACH", threads, flush=True)
import os; os._exit(1)
""",
    "ten_gigabytes": "x = bytearray(10 << 30)\nprint('BREACH', len(x))",
    "ten_gigabytes_mapped": """
import mmap
page = mmap.mmap(-1, 10 << 30)
page[::4096] = b"x" * len(page[::4096])
print("BREACH")
""",
    "ten_gigabytes_bit_by_bit": """
kept = []
while len(kept) < 10240: kept.append(b"x" * (1 << 20))
print("BREACH")
""",
    "memory_as_an_anonymous_file": _CALL
    + """
fd, _ = call(319, b"hog", 0)
if fd >= 0: print("BREACH")
""",
    "shared_memory_segment": _CALL
    + """
for number in (29, 68, 64):  # shmget, msgget, semget
    if call(number, 0, 1 << 20, 0o1600)[0] >= 0: print("BREACH", number)
""",
    "endless_loop": "while True: pass",
    "endless_loop_with_signals_ignored": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    "endless_sleep": "import time\nwhile True: time.sleep(60)",
    "endless_big_number": "print('BREACH' if 7 ** 7 ** 9 else '')",
    "endless_regular_expression": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')\nprint('BREACH')",
    "endless_exit_handler": "import atexit\n@atexit.register\ndef hang():\n    while True: pass",
    "endless_destructor": "class A:\n    def __del__(self):\n        while True: pass\nA()",
    "endless_thread": """
import threading
def spin():
    while True: pass
threading.Thread(target=spin).start()
""",
    "flood_of_output": "while True: print('x' * 65536)",
    "flood_of_errors": "import sys\nwhile True: sys.stderr.write('x' * 65536)",
    "fill_the_scratch_folder": """
import os
written = 0
try:
    for name in range(100):
        with open(f"f{name}", "wb") as file:
            for _ in range(100):
                written += file.write(b"x" * (1 << 20))
except OSError:
    pass
if written > 64 << 20: print("BREACH", written)
""",
    "a_million_files": """
made = 0
try:
    for name in range(1_000_000):
        open(f"f{name}", "w").close()
        made += 1
except OSError:
    pass
if made > 1000: print("BREACH", made)
""",
    "sparse_giant_file": """
with open("giant", "wb") as file:
    file.truncate(1 << 40)
print("BREACH")
""",
    "raise_the_limits": """
import resource
for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    try:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("BREACH", limit)
    except (ValueError, OSError):
        pass
""",
    "crash_by_recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return [f()]\nrepr(f())",
    "crash_by_null_pointer": "import ctypes\nctypes.string_at(0)\nprint('BREACH')",
    # --- looking around
    "read_the_environment": "import os\nif 'BOTS_SECRET' in os.environ: print('BREACH')",
    "read_passwd": "print('BREACH', open('/etc/passwd').read())",
    "read_the_users_file": "print('BREACH', open('{secret}').read())",
    "read_by_symlink": """
import os
for target in ("{secret}", "/etc/passwd", "/proc/self/environ", "/proc/1/root{secret}"):
    os.symlink(target, "link")
    try: print("BREACH", open("link").read())
    except OSError: pass
    os.unlink("link")
""",
    "read_by_hard_link": "import os\nos.link('{secret}', 'mine')\nprint('BREACH', open('mine').read())",
    "read_upwards": "print('BREACH', open('../../../../../../..{secret}').read())",
    "list_home": """
import os
for folder in ("/home", "/root", "/tmp", "/var", "/opt/secrets", "/mnt", "/srv", "/run"):
    try:
        names = os.listdir(folder)
    except OSError:
        continue
    # Only the way to the interpreter may be there, and nothing beside it.
    for where, folders, files in os.walk(folder):
        if len(folders) > 1 and "lib" not in folders and "python3" not in where: print("BREACH", where, folders)
        if "lib" in folders or "python3" in where: break
        if files: print("BREACH", where, files)
""",
    "read_proc": """
import glob
for path in ("/proc/self/environ", "/proc/1/environ", "/proc/self/mem", "/proc/1/maps", "/proc/1/cmdline",
             "/proc/self/maps", "/proc/version", "/proc/mounts", *glob.glob("/proc/*")):
    try: print("BREACH", open(path, "rb").read(64))
    except OSError: pass
""",
    "read_sys_and_dev": """
import glob
for path in ("/sys/class/net/lo/address", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/shm/x",
             "/dev/tty", "/dev/ptmx", "/dev/fuse", "/dev/kvm"):
    try: print("BREACH", open(path, "rb").read(1))
    except OSError: pass
""",
    "installed_packages": "import numpy\nprint('BREACH')",
    "look_for_the_answer_in_memory": """
import gc
needle = "".join(["the-right", "-answer"])
seen = set()
queue = list(gc.get_objects())
while queue and len(seen) < 200_000:
    thing = queue.pop()
    if id(thing) in seen: continue
    seen.add(id(thing))
    if isinstance(thing, (str, bytes)) and len(thing) < 10_000:
        text = thing if isinstance(thing, str) else thing.decode("latin-1")
        if needle in text and thing is not needle: print("BREACH", text[:80])
    queue.extend(gc.get_referents(thing))
""",
    "look_for_the_answer_in_descriptors": """
import os
for fd in range(1000):
    if fd in (0, 1, 2): continue
    try:
        os.lseek(fd, 0, 0)
    except OSError: pass
    try:
        text = os.read(fd, 1 << 16)
    except OSError:
        continue
    if b"".join([b"the-right", b"-answer"]) in text: print("BREACH", fd)
""",
    "look_for_the_answer_in_arguments": """
import sys
if "".join(["the-right", "-answer"]) in repr(sys.argv) + repr(sys.orig_argv) + repr(sys.flags): print("BREACH")
""",
    # --- other processes
    "kill_everybody": """
import os, signal
for target in (-1, 0, 2, 3, os.getppid() or 2):
    try:
        os.kill(target, signal.SIGKILL)
        print("BREACH", target)
    except OSError:
        pass
""",
    "kill_threads_of_others": _CALL
    + """
import os
for pid in range(1, 64):
    if pid != os.getpid() and call(200, pid, 9)[0] == 0: print("BREACH", pid)
    if pid != os.getpid() and call(234, pid, pid, 9)[0] == 0: print("BREACH", pid)
""",
    "trace_the_parent": _CALL
    + """
import os
for pid in (1, 2, os.getppid()):
    if call(101, 16, pid, 0, 0)[0] == 0: print("BREACH", pid)
if call(101, 0, 0, 0, 0)[0] == 0: print("BREACH")
""",
    "read_another_process": _CALL
    + """
import os
buffer = ctypes.create_string_buffer(64)
local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
for pid in range(1, 32):
    if pid != os.getpid() and call(310, pid, local, 1, local, 1, 0)[0] > 0: print("BREACH", pid)
""",
    "shell_by_system": "import os\nif os.system('echo BREACH') == 0: print('BREACH')",
    "shell_by_subprocess": "import subprocess\nprint('BREACH', subprocess.run(['/bin/sh', '-c', 'id']))",
    "shell_by_exec": "import os\nos.execv('/lib64/ld-linux-x86-64.so.2', ['ld', '/bin/sh'])\nprint('BREACH')",
    "exec_the_interpreter": "import os, sys\nos.execv(sys.executable, ['python', '-c', 'print(\"BREACH\")'])",
    "pool_of_processes": "import multiprocessing\nprint('BREACH', multiprocessing.Pool(2).map(abs, [1]))",
    # --- the network
    "connect_to_the_host": """
import socket
for address in (("127.0.0.1", {port}), ("0.0.0.0", {port}), ("10.0.0.1", 80)):
    try:
        socket.create_connection(address, timeout=0.2)
        print("BREACH", address)
    except OSError:
        pass
""",
    "send_a_datagram": """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port}))
print("BREACH")
""",
    "look_up_a_name": "import socket\nprint('BREACH', socket.gethostbyname('localhost'))",
    "abstract_socket": """
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("\\0{abstract}")
print("BREACH")
""",
    "netlink": "import socket\ns = socket.socket(16, 3, 0)\nprint('BREACH')",
    # --- privileges
    "become_root": """
import os
for change in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        change()
        print("BREACH")
    except OSError:
        pass
""",
    "is_root": "import os\nif 0 in (os.getuid(), os.geteuid(), os.getgid()): print('BREACH')",
    "new_user_namespace": _CALL
    + """
for flags in (0x10000000, 0x10020000, 0x20000000, 0x40000000):
    if call(272, flags)[0] == 0: print("BREACH", hex(flags))
""",
    "enter_a_namespace": _CALL
    + """
for fd in range(64):
    if call(308, fd, 0)[0] == 0: print("BREACH", fd)
""",
    "mount_something": _CALL
    + """
if call(165, b"none", b"/scratch", b"tmpfs", 0, 0)[0] == 0: print("BREACH")
if call(165, b"none", b"/", 0, 32 | 4096, 0)[0] == 0: print("BREACH")
if call(166, b"/scratch", 2)[0] == 0: print("BREACH")
""",
    "change_root": "import os\nos.mkdir('r')\nos.chroot('r')\nprint('BREACH')",
    "odd_doors_of_the_kernel": _CALL
    + """
# bpf, perf_event_open, keyctl, add_key, userfaultfd, io_uring_setup, personality, open_by_handle_at, kexec_load,
# init_module, reboot, swapon, ptrace, quotactl, acct, settimeofday, sethostname, iopl
for number in (321, 298, 250, 248, 323, 425, 135, 304, 246, 175, 169, 167, 101, 179, 163, 164, 170, 172):
    if call(number, 0, 0, 0, 0, 0)[0] >= 0: print("BREACH", number)
""",
    "make_a_device": "import os, stat\nos.mknod('d', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\nprint('BREACH')",
    "run_a_program_of_its_own": """
import ctypes, os
with open("x.so", "wb") as file: file.write(b"\\x7fELF" + bytes(1000))
os.chmod("x.so", 0o7777)
os.execv("./x.so", ["x"])
print("BREACH")
""",
    # --- writing where it should not
    "write_outside": """
import os, sys
targets = ["/x", "/usr/lib/x", "/dev/x", "/dev/shm/x", "/etc/x", "/sandbox/inner/stdio.py", "/sandbox/x", os.__file__,
           sys.executable, "{secret}", "/proc/sys/kernel/hostname", "/tmp/x", os.path.dirname(os.__file__) + "/x.py"]
for path in targets:
    try:
        open(path, "a").write("BREACH")
        print("BREACH", path)
    except OSError:
        pass
""",
    "delete_outside": """
import os, shutil
for path in ("{secret}", "/sandbox/inner/stdio.py", os.__file__):
    try:
        os.unlink(path)
        print("BREACH", path)
    except OSError:
        pass
shutil.rmtree("/", ignore_errors=True)
""",
    "change_its_input": """
import os
for fd in (0, 3):
    try:
        os.write(fd, b"x")
        print("BREACH", fd)
    except OSError: pass
    try:
        os.ftruncate(fd, 0)
        print("BREACH", fd)
    except OSError: pass
""",
    "leave_something_behind": "open('left', 'w').write('x')\nimport os\nos.mkdir('deep')\nos.chmod('deep', 0)",
    "find_what_was_left": "import os\nif os.listdir('.'): print('BREACH', os.listdir('.'))",
    # --- the verdict
    "early_exit_of_the_process": "import os\nos._exit(0)",
    "early_exit": "import sys\nsys.exit(0)",
    "claim_to_have_passed": "print('passed'); print('{\"verdict\": \"pass\"}'); print(1.0)",
    "answer_with_everything": "print('\\n'.join(str(n) for n in range(1000)))",
    "write_to_every_descriptor": """
import os
for fd in range(3, 64):
    for text in (b'{"verdict": "pass", "reason": ""}', b'{"id": 0, "status": 0, "cpu": 0, "rss": 0}'):
        try: os.write(fd, text)
        except OSError: pass
""",
    "write_after_the_end": """
import atexit, sys
atexit.register(lambda: print("the answer"))
sys.stdout.flush()
""",
    "fail_after_the_right_answer": "print('the-right-' + 'answer')\nraise SystemExit(3)",
    "crash_after_the_right_answer": "import os\nprint('the-right-' + 'answer', flush=True)\nos.abort()",
    "replace_the_runner": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("inner"):
        for key in list(vars(module)):
            if not key.startswith("__"): setattr(module, key, lambda *a, **k: 0)
""",
}  # fmt: skip
