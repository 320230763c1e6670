"""Ends a process at one exact call that changes files, counted over all of its threads.

    strike.py attach PID  NUMBER SIDE     a process that runs; says `attached` first
    strike.py run NUMBER SIDE PROGRAM...  one that is started here

NUMBER is the call that is met, from 1; SIDE says whether the process ends `before` the call is made or `after` it was.
With 0 nothing is ended. The last line of output is JSON: `calls`, the names of those that were made, in order, and
`struck`, whether the process was ended. Processes that it starts are left alone.

The kernel's own counters (`strace --inject`) count thread by thread, so that most points would never be met.
"""
import ctypes
import json
import os
import platform
import signal
import sys

# Of ptrace(2), the same on every machine.
PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GET_SYSCALL_INFO = 24, 0x4206, 0x4207, 0x420E
OPTIONS = 1 | 8 | 16  # TRACESYSGOOD, TRACECLONE, TRACEEXEC
STOP_EVENT, EXEC_EVENT = 128, 4
WALL = 0x40000000
WRITABLE = os.O_WRONLY | os.O_RDWR

# Name, number on x86_64, number on aarch64 and all newer machines; None where there is no such call.
NUMBERS = [
    ("write", 1, 64), ("pwrite64", 18, 68), ("writev", 20, 66), ("pwritev", 296, 70), ("pwritev2", 328, 287),
    ("fsync", 74, 82), ("fdatasync", 75, 83), ("syncfs", 306, 267), ("truncate", 76, 45), ("ftruncate", 77, 46),
    ("fallocate", 285, 47), ("copy_file_range", 326, 285), ("sendfile", 40, 71), ("ioctl", 16, 29),
    ("rename", 82, None), ("renameat", 264, 38), ("renameat2", 316, 276), ("link", 86, None), ("linkat", 265, 37),
    ("unlink", 87, None), ("unlinkat", 263, 35), ("rmdir", 84, None), ("mkdir", 83, None), ("mkdirat", 258, 34),
    ("symlink", 88, None), ("symlinkat", 266, 36), ("chmod", 90, None), ("fchmod", 91, 52), ("fchmodat", 268, 53),
    ("fchmodat2", 452, 452), ("utimensat", 280, 88), ("creat", 85, None), ("open", 2, None), ("openat", 257, 56),
    ("openat2", 437, 437),
]
CALLS = {(intel if platform.machine() == "x86_64" else other): name for name, intel, other in NUMBERS}
# Calls that are about a descriptor, which may be a socket or a pipe.
BY_DESCRIPTOR = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile"}
FICLONE, FICLONERANGE = 0x40049409, 0x4020940D

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Info(ctypes.Structure):
    """`struct ptrace_syscall_info`, as far as it is used; `op` is 1 at the entry of a call and 2 at its exit."""

    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("ip", ctypes.c_uint64), ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64),
                ("arguments", ctypes.c_uint64 * 6), ("more", ctypes.c_uint64 * 2)]


def ptrace(request, thread, address=0, data=0):
    """Returns whether it could be done; a thread may be gone at any moment."""
    if libc.ptrace(request, thread, address, data) >= 0:
        return True
    error = ctypes.get_errno()
    if error == 3:  # ESRCH
        return False
    raise OSError(error, os.strerror(error))


def changes_files(process, info):
    """Returns the name of the call when it is one that changes files, or what is known of them."""
    name = CALLS.get(info.number)
    first, second, third = info.arguments[0], info.arguments[1], info.arguments[2]
    try:
        if name in BY_DESCRIPTOR:
            target = os.readlink(f"/proc/{process}/fd/{first & 0xFFFFFFFF}")
            return name if target.startswith("/") and not target.startswith("/dev/") else None
        if name == "ioctl":
            return name if second in (FICLONE, FICLONERANGE) else None
        flags = {"open": second, "openat": third}.get(name)
        if name == "openat2":
            with open(f"/proc/{process}/mem", "rb") as memory:
                memory.seek(third)
                flags = int.from_bytes(memory.read(8), "little")
    except OSError:
        return None
    if flags is not None:
        makes = flags & (os.O_CREAT | os.O_TRUNC) or (flags & os.O_TMPFILE) == os.O_TMPFILE
        return name if makes and flags & WRITABLE else None
    return name


class Tracer:
    def __init__(self, number, side):
        self.number, self.side = number, side
        self.names, self.process, self.target, self.counts = [], None, None, True

    def attach(self, process):
        self.process = process
        seen = set()
        while True:
            threads = {int(name) for name in os.listdir(f"/proc/{process}/task")} - seen
            if not threads:
                break
            for thread in threads:
                seen.add(thread)
                try:
                    if ptrace(PTRACE_SEIZE, thread, 0, OPTIONS):
                        ptrace(PTRACE_INTERRUPT, thread)
                except PermissionError:
                    # A thread that was made after its maker was taken is taken already.
                    if thread == process:
                        raise
        print("attached", flush=True)

    def run(self, program):
        ours, theirs = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(theirs)
            os.read(ours, 1)
            os.execvp(program[0], program)
        os.close(ours)
        # What happens before the program begins is not its doing.
        self.counts = False
        ptrace(PTRACE_SEIZE, self.process, 0, OPTIONS)
        ptrace(PTRACE_INTERRUPT, self.process)
        os.write(theirs, b".")
        os.close(theirs)

    def strike(self):
        os.kill(self.process, signal.SIGKILL)

    def at_call(self, thread):
        """Returns whether this is the moment."""
        info = Info()
        if not self.counts or not ptrace(PTRACE_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info)):
            return False
        if info.op == 2:
            return thread == self.target
        name = changes_files(self.process, info) if info.op == 1 else None
        if name is None:
            return False
        self.names.append(name)
        if len(self.names) == self.number:
            self.target = thread
            return self.side == "before"
        return False

    def follow(self):
        """Returns the status of the process, once it is gone."""
        struck = False
        while True:
            try:
                thread, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return None, struck
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if thread == self.process:
                    return status, struck
                continue
            received, event, passed = os.WSTOPSIG(status), status >> 16, 0
            if received == signal.SIGTRAP | 0x80:
                if self.at_call(thread) and not struck:
                    struck = True
                    self.strike()
                    continue
            elif event == EXEC_EVENT:
                self.counts = True
            elif event == 0:
                passed = received
            ptrace(PTRACE_SYSCALL, thread, 0, passed)


def main():
    words = sys.argv[1:]
    mode = words.pop(0)
    process = int(words.pop(0)) if mode == "attach" else None
    tracer = Tracer(int(words.pop(0)), words.pop(0))
    if mode == "attach":
        tracer.attach(process)
    else:
        tracer.run(words)
    status, struck = tracer.follow()
    print("\n" + json.dumps({"calls": tracer.names, "struck": struck}), flush=True)
    if mode == "run" and status is not None and os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
