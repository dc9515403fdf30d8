"""Starts the examples and `load` for these tests, and reports each test by itself, as GoogleTest does.

BUILD names the build folder, REPORT the file that ./dev test counts."""

import contextlib
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree

BUILD = pathlib.Path(os.environ["BUILD"])
BACKENDS = ["epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"]
MEMORY_COUNTS = "COUNT_CALLS" in os.environ  # not where sanitizers add theirs
WAIT_SECONDS = 20  # for what comes at once unless something is wrong; sanitizers and busy machines are slow


class Service:
    """One example that runs, or anything else whose first line says where it listens."""

    def __init__(self, *command, backend=None, stats=True, env=None, wrap=()):
        program, *options = command
        full = [*wrap, str(BUILD / "examples" / program), *map(str, options)]
        full += ["--backend", backend] if backend else []
        full += ["--stats"] if stats else []
        self.process = subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        self.first_line = self.process.stdout.readline().rstrip("\n")
        match = re.fullmatch(r"listening (\S+):(\d+) backend=(\S+)", self.first_line)
        if match is None:
            self.process.kill()
            raise AssertionError(f"{full}: first line {self.first_line!r}, errors {self.process.communicate()[1]!r}")
        self.host, self.port, self.backend = match[1].strip("[]"), int(match[2]), match[3]
        self.address = f"{match[1]}:{match[2]}"
        self.is_told_to_end = False

    def connect(self, timeout=WAIT_SECONDS, **options):
        return socket.create_connection((self.host, self.port), timeout=timeout, **options)

    def pid(self):
        """Of the example itself, also under a tracer."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def descriptor_count(self):
        # Not the folder's size: that counts the number which an accept that finds nobody holds for a moment.
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def terminate(self):
        self.is_told_to_end = True
        os.kill(self.pid(), signal.SIGTERM)

    def finish(self, test, timeout=WAIT_SECONDS):
        """SIGTERM, unless it was sent, then everything it has to say; the test fails if it does not end well."""
        if not self.is_told_to_end:
            self.terminate()
        try:
            out, error = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            test.fail(f"{self.first_line}: not ended {timeout} s after SIGTERM")
        test.assertEqual(self.process.returncode, 0, error)
        self.errors = error
        lines = [line.split() for line in out.splitlines()]
        return {line[0]: int(line[1]) for line in lines if len(line) == 2}

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def start(test, *command, **options):
    """A Service that does not outlive the test."""
    service = Service(*command, **options)
    test.addCleanup(service.kill)
    return service


def start_proxy(test, upstream_address, *arguments, **options):
    return start(test, "tcp_proxy", "--upstream", upstream_address, *arguments, **options)


def load(*options, env=None):
    """A Popen of load; see finish_load()."""
    command = [str(BUILD / "perf/suite/load/load"), "--json", *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **(env or {})})


def finish_load(test, process, timeout=120):
    out, error = process.communicate(timeout=timeout)
    test.assertTrue(out, f"load said nothing but {error!r}")
    result = json.loads(out)
    test.assertEqual(result["faults"]["all"], 0, f"{result['faults']} {result['first_fault']} {error}")
    test.assertEqual(process.returncode, 0, error)
    return result


def run_load(test, service, *options):
    return finish_load(test, load("--connect", service.address, *options))


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def receive_exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(1 << 16, count - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def receive_all(connection):
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def wait_until(condition, what, timeout=WAIT_SECONDS):
    """Looks again and again: for what another process does and nobody announces."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.005)


def listen(host="127.0.0.1"):
    listener = socket.create_server((host, 0), backlog=1024)
    listener.settimeout(WAIT_SECONDS)
    return listener, f"{host}:{listener.getsockname()[1]}"


def free_address():
    """Where nobody listens now: for programs that cannot choose for themselves and say what they chose. On an address that
    only this process's tests use: a connection of others may get the port meanwhile."""
    number = os.getpid()
    listener, address = listen(f"127.{1 + (number >> 16 & 127)}.{number >> 8 & 255}.{number & 255}")
    listener.close()
    return address


REFUSED = {}  # backend: why this machine does not have it


def reason_against(backend):
    if backend not in REFUSED:
        try:
            Service("echo", backend=backend).kill()
            REFUSED[backend] = ""
        except AssertionError as error:
            REFUSED[backend] = str(error)
    return REFUSED[backend]


def on_backends(*backends):
    """Turns each `check_x(self, backend)` of a class into tests, one a backend."""
    def spread(cls):
        for name, check in list(vars(cls).items()):
            if not name.startswith("check_"):
                continue
            for backend in backends or BACKENDS:
                def run(self, check=check, backend=backend):
                    if reason := reason_against(backend):
                        self.skipTest(f"{backend}: {reason}")
                    check(self, backend)
                setattr(cls, f"test_{name[6:]}_{re.sub('[^a-z0-9]', '_', backend)}", run)
        return cls
    return spread


class Outcome(unittest.TextTestResult):
    """Keeps a line for each test, for the report."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def record(self, test, tag=None, text=""):
        name = test.id().split(".")
        case = ElementTree.SubElement(self.report, "testcase", name=name[-1], classname=".".join(name[-2:-1]),
                                      status="run", time=f"{time.monotonic() - self.began:.3f}")
        if tag:
            ElementTree.SubElement(case, tag, message=text)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.record(test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.record(test, "failure", self._exc_info_to_string(error, test))

    def addError(self, test, error):
        super().addError(test, error)
        self.began = getattr(self, "began", time.monotonic())
        self.record(test, "failure", self._exc_info_to_string(error, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.record(test, "skipped", reason)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.record(subtest, "failure", self._exc_info_to_string(error, test))


def main():
    """Runs the tests of the program that calls it; names on the command line choose among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = ElementTree.Element("testsuite")
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    if sys.argv[1:]:
        wanted = [test for group in suite for test in group if any(word in test.id() for word in sys.argv[1:])]
        suite = unittest.TestSuite(wanted)

    def make_result(*arguments):
        outcome = Outcome(*arguments)
        outcome.report = report
        return outcome

    outcome = unittest.TextTestRunner(verbosity=2, resultclass=make_result).run(suite)
    if "REPORT" in os.environ:
        ElementTree.ElementTree(report).write(os.environ["REPORT"])
    sys.exit(0 if outcome.wasSuccessful() and outcome.testsRun else 1)
