"""Script of `child_runner.py`: runs `seqembed` in forked children of one preloaded interpreter.

Each child can kill itself at a given step. Starting Python and importing pyarrow and ONNX Runtime takes seconds, a fork
of a process that has done so milliseconds. The preloaded process only imports, so no lock is held and no session is
open when it forks. The libraries start idle threads at import that a child lacks, so a child ends by `os._exit` instead
of running their destructors. The product has no hooks for faults: methods are wrapped here, in the child.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import pandas  # noqa: F401 - pyarrow imports it at its first conversion, which would cost every child a second

import seqembed.data.lock
import seqembed.runner.cli.group_events  # noqa: F401
import seqembed.runner.cli.run  # noqa: F401
from seqembed.data.files.inputs import InputFile
from seqembed.runner.cli import main
from seqembed.runner.group import job as group_job
from seqembed.runner.group import spill
from seqembed.runner.group.bucket import BucketTask
from seqembed.runner.group.spill import Spill
from seqembed.runner.metrics import textfile
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.staging import Staging
from seqembed.runner.output.storage import Storage
from seqembed.runner.output.writer import PartWriter
from seqembed.runner.page import write as page_write

# Step → class or module, function, and whether the process is killed before or after the call.
STEPS: dict[str, tuple[Any, str, str]] = {
    "locked": (seqembed.data.lock, "_acquire", "after"),
    "old marker removed": (OutputDirectory, "begin", "after"),
    "part opened": (PartWriter, "__init__", "after"),
    "rows handed over": (PartWriter, "write", "after"),
    "rows on disk": (PartWriter, "_flush", "after"),
    "part closed": (PartWriter, "close", "after"),
    "part synced": (Storage, "sync_file", "after"),
    "part checked": (Staging, "_read_back", "after"),
    "before rename": (OutputDirectory, "_refuse_way_out", "before"),
    "after rename or removal": (Storage, "sync_directory", "before"),
    "published": (OutputDirectory, "publish", "after"),
    "history written": (OutputDirectory, "remember", "after"),
    "before _SUCCESS": (OutputDirectory, "succeed", "before"),
    "after _SUCCESS": (OutputDirectory, "succeed", "after"),
    "before cleaning": (OutputDirectory, "_clean", "before"),
    "cleaned": (OutputDirectory, "_clean", "after"),
}

# The same of `seqembed group` alone.
GROUP_STEPS: dict[str, tuple[Any, str, str]] = {
    "counted": (group_job, "plan_group", "after"),
    "spilled": (Spill, "flush", "after"),
    "chunk read": (spill, "read_chunk", "after"),
    "bucket staged": (BucketTask, "make", "after"),
    "census staged": (group_job, "stage_census", "after"),
}

# The same of `seqembed run --report --metrics`.
REPORT_STEPS: dict[str, tuple[Any, str, str]] = {
    "page begun": (page_write, "_write", "before"),
    "page written": (page_write, "_write", "after"),
    "metrics begun": (textfile, "write_to_textfile", "before"),
    "metrics staged": (os, "rename", "before"),  # by the Prometheus client alone
    "metrics written": (textfile, "write_to_textfile", "after"),
}


def at_call(step: tuple[Any, str, str], number: int, act: Callable[[], None]) -> None:
    """Call `act` at the `number`-th call (from 1) of a function."""
    owner, name, when = step
    function, calls = getattr(owner, name), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        hit = calls == number
        if hit and when == "before":
            act()
        value = function(*args, **kwargs)
        if hit and when == "after":
            act()
        return value

    setattr(owner, name, wrapped)


def after_batch(number: int, act: Callable[[], None]) -> None:
    """Call `act` once `number` record batches (from 1) were read from the inputs."""
    batches, read = InputFile.batches, 0

    def wrapped(self: InputFile, *args: Any, **kwargs: Any) -> Any:
        nonlocal read
        for batch in batches(self, *args, **kwargs):
            yield batch
            read += 1
            if read == number:
                act()

    InputFile.batches = wrapped  # type: ignore[method-assign]


def drop_capabilities() -> None:
    """Drop the capabilities by which root ignores file modes."""
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, struct.pack("6I", *[0] * 6)):
        raise OSError(ctypes.get_errno(), "capset")


def limit_file_size(num_bytes: int) -> None:
    """Limit the size of files written by this process, like a quota."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def fail_system_call(error: int, call: str) -> None:
    """Make the kernel fail every later `write` to a file (not to 0, 1, 2) or every `fsync` with an errno.

    A filter of system calls (seccomp) simulates an exhausted quota without a filesystem that has quotas.
    """
    number = {"write": 1, "fsync": 74}[call]  # of x86-64
    load, equal, above, end = 0x20, 0x15, 0x25, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGT|K, BPF_RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | error
    steps = [(load, 0, 0, 0), (equal, 0, 3, number), (load, 0, 0, 16), (above, 0, 1, 2), (end, 0, 0, refuse)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in [*steps, (end, 0, 0, allow)]))
    header = ctypes.create_string_buffer(struct.pack("H6xQ", len(steps) + 1, ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((38, 1, 0, 0, 0), (22, 2, ctypes.addressof(header), 0, 0)):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        if libc.prctl(words[0], *map(ctypes.c_ulong, words[1:])):
            raise OSError(ctypes.get_errno(), "prctl")


def child(options: dict[str, Any]) -> int:
    """Run one command line, `words`, and return its exit code.

    At call `number` of `step` (for the step "reading": after record batch `number` was read) Python `code` runs, or,
    if there is none, a `signal` is sent to this process. Python `prepare` runs first.
    """

    def act() -> None:
        if "code" in options:
            exec(options["code"], globals())
        else:
            os.kill(os.getpid(), options.get("signal", signal.SIGKILL))

    exec(options.get("prepare", ""), globals())
    if options.get("step") == "reading":
        after_batch(options["number"], act)
    elif "step" in options:
        at_call({**STEPS, **GROUP_STEPS, **REPORT_STEPS}[options["step"]], options["number"], act)
    try:
        main(options["words"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def serve() -> None:
    """Fork one child per line of JSON on standard input; write its exit code and duration as a line of JSON."""
    for line in sys.stdin:
        options = json.loads(line)
        sys.stdout.flush()
        process = os.fork()
        if not process:
            descriptor = os.open(options["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            try:
                code = child(options)
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                code = 1
            os._exit(code)
        if "seconds" in options:
            time.sleep(options["seconds"])
            os.kill(process, options.get("signal", signal.SIGKILL))
        start = time.perf_counter()
        _, status = os.waitpid(process, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - start}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
