"""Counts the user instructions that a server has executed, with valgrind's callgrind.

The count is asked for by vgdb and not by ending the server: valgrind looks for signals and requests
only between instructions of the program, and a server that waits in io_uring_enter executes none.
So after the request a connection is made and dropped, which wakes the server; --vgdb-poll=10 makes
valgrind look at once."""

import contextlib
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import harness

DUMP_SECONDS = 20


def count_instructions(name, command, place, load, upstream=""):
    """Instructions from the start of the server to the end of `load(server)`."""
    if not shutil.which("valgrind"):
        raise harness.MeasureError("callgrind needs valgrind")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if "{upstream}" in command:
            behind = stack.enter_context(harness.running(f"upstream of {name}", upstream, place))
            command = command.replace("{upstream}", behind.address.rsplit(":", 1)[1])
        wrapper = ["valgrind", "--tool=callgrind", "--vgdb-poll=10",
                   f"--vgdb-prefix={folder}/vgdb", f"--callgrind-out-file={folder}/out"]
        server = harness.Server(name, command, place, wrapper)
        try:
            load(server)
            _dump(server, folder)
        finally:
            server.kill()
        dumped = pathlib.Path(folder, "out.1").read_text()
    return int(re.search(r"^summary: (\d+)", dumped, re.M).group(1))


def _dump(server, folder):
    request = subprocess.Popen(
        ["vgdb", f"--vgdb-prefix={folder}/vgdb", f"--pid={server.pid}", "--max-invoke-ms=0", "dump"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + DUMP_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                error = request.communicate(timeout=0.2)[1]
            except subprocess.TimeoutExpired:
                server.wake()
                continue
            if request.returncode != 0:
                raise harness.MeasureError(f"vgdb: {error.strip()}")
            return
        raise harness.MeasureError(f"callgrind gave no count within {DUMP_SECONDS} s")
    finally:
        request.kill()
        request.communicate()
