"""Starts servers, drives them with perf_client on the same CPU, and describes the machine.

Server and client share one CPU because a wakeup across CPUs costs more than the work that is
measured. This program itself keeps to the other CPUs."""

import contextlib
import json
import os
import pathlib
import platform
import random
import re
import resource
import select
import shlex
import socket
import subprocess
import tempfile
import time

START_SECONDS = 30  # valgrind starts slowly
STOP_SECONDS = 10
CLIENT_SECONDS = 600
BUSY_PERCENT = 5  # of the CPU, used by others: from here on the output says so

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]


class MeasureError(Exception):
    """Something in the machine or in a server, worth one clear line."""


def load_servers(build, kind="echo", extra=()):
    """The servers of one kind from servers.json, and `NAME=COMMAND` from the command line."""
    kinds = json.loads((HERE / "servers.json").read_text())
    if kind not in kinds:
        raise MeasureError(f"no kind of server '{kind}'; there are: {', '.join(kinds)}")
    table = kinds[kind]
    for item in extra:
        name, separator, command = item.partition("=")
        if not separator or not command:
            raise MeasureError(f"--server wants NAME=COMMAND, not '{item}'")
        table[name] = command
    return {name: command.replace("{build}", str(build)).replace("{source}", str(SOURCE))
            for name, command in table.items()}


def why_missing(command):
    """None if the program of `command` is there, else the reason why not."""
    program = shlex.split(command)[0]
    if not os.access(program, os.X_OK):
        return f"{program.removeprefix(f'{SOURCE}/')} is not built"
    if "/others/" not in program:
        return None
    done = subprocess.run([program, "--check"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()


def free_port():
    """Below the ephemeral ports, so that no client takes it meanwhile."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise MeasureError("no free port between 10000 and 32000")


class Place:
    """Where server and client run: one CPU (or several), one scheduling policy.

    With `batch` a wakeup does not preempt who runs, so each side works until it has nothing left
    to do: batches are larger, and counts of system calls depend less on chance."""

    def __init__(self, *cpus, batch=False):
        self.cpus = cpus
        self.batch = batch

    def enter(self):
        os.sched_setaffinity(0, set(self.cpus))
        if self.batch:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server:
    """A running server. A command with {port} is a peer: it gets a free port. Any other finds one
    itself and says so in its first line, `listening ADDR:PORT ...`."""

    def __init__(self, name, command, place, wrapper=(), environment=None):
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")
        self._folder = tempfile.TemporaryDirectory(prefix="weir-")  # for what it writes, as its TMPDIR
        port = free_port() if "{port}" in command else None
        words = [*wrapper, *shlex.split(command.replace("{port}", str(port)))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
            text=True, preexec_fn=place.enter, env={**os.environ, "TMPDIR": self._folder.name, **(environment or {})})
        self.pid = self._process.pid
        try:
            self.address = self._wait_for_port(port) if port else self._read_address()
        except BaseException:
            self.kill()
            raise

    def _wait_for_port(self, port):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise MeasureError(f"{self.name} ended at once: {self.error_text()}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"127.0.0.1:{port}"
            time.sleep(0.005)
        raise MeasureError(f"{self.name} is not on port {port} after {START_SECONDS} s")

    def _read_address(self):
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline().strip() if readable else ""
        found = re.match(r"listening (\S+:\d+)", line)
        if not found:
            raise MeasureError(f"{self.name}: the first line must be 'listening ADDR:PORT ...', "
                               f"not '{line}'; it says: {self.error_text()}")
        return found.group(1)

    def error_text(self, line_count=3):
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return " | ".join(lines[-line_count:]) or "nothing"

    def cpu_ns(self):
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def wait_until_asleep(self, seconds=0.1):
        """Until it has had nothing to do for so long."""
        used = None
        while used != (used := self.cpu_ns()):
            time.sleep(seconds)

    def settled_rss_bytes(self):
        """Resident memory once the server sleeps. From smaps_rollup, which is exact: VmRSS is off
        by up to 64 pages a CPU since Linux 6.2."""
        self.wait_until_asleep()
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024

    def wake(self):
        """Gives a server that sleeps something to do: a connection, dropped at once."""
        host, port = self.address.rsplit(":", 1)
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()

    def stop(self):
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise MeasureError(f"{self.name} goes on {STOP_SECONDS} s after SIGTERM") from None
        finally:
            self.kill()

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()


@contextlib.contextmanager
def running(name, command, place, upstream="", **how):
    """The server, and before it the `upstream` that a {upstream} in its command asks for."""
    with contextlib.ExitStack() as stack:
        if "{upstream}" in command:
            behind = stack.enter_context(running(f"upstream of {name}", upstream, place))
            command = command.replace("{upstream}", behind.address.rsplit(":", 1)[1])
        server = Server(name, command, place, **how)
        try:
            yield server
        finally:
            server.stop()


class Client:
    """perf_client at the same place as the server. Options are those of its command line."""

    def __init__(self, build, place):
        self.folder = pathlib.Path(build).resolve() / "perf/measure"
        self._program = str(self.folder / "perf_client")
        self._place = place
        if not os.access(self._program, os.X_OK):
            raise MeasureError(f"{self._program} is not built")

    def _command(self, mode, server, options):
        words = [self._program, mode, "--connect", server.address]
        for name, value in options.items():
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [str(value)]
        return words

    def run(self, mode, server, **options):
        done = subprocess.run(
            self._command(mode, server, options), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=CLIENT_SECONDS, check=False, preexec_fn=self._place.enter)
        if done.returncode != 0:
            raise MeasureError(f"{done.stderr.strip()}; the server says: {server.error_text()}")
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def holding(self, server, **options):
        """Connections that have echoed once and then do nothing, until the block ends."""
        client = subprocess.Popen(
            self._command("idle", server, options), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=self._place.enter)
        try:
            if not client.stdout.readline():
                raise MeasureError(f"{client.stderr.read().strip()}; "
                                   f"the server says: {server.error_text()}")
            yield
        finally:
            client.communicate()


class OtherWork:
    """How much of the CPUs others than our children have used since this was made. Our children
    count when they have ended."""

    def __init__(self, *cpus):
        self._cpus = cpus
        self._begin = self._read()

    def _read(self):
        stat = pathlib.Path("/proc/stat").read_text()
        rows = [re.search(rf"^cpu{cpu} (.*)$", stat, re.M).group(1).split() for cpu in self._cpus]
        # Those after the first eight are parts of them.
        ticks = [sum(int(row[i]) for row in rows) for i in range(8)]
        idle = ticks[3] + ticks[4]
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = (children.ru_utime + children.ru_stime) * os.sysconf("SC_CLK_TCK")
        return sum(ticks) - idle, sum(ticks), ours

    def percent(self):
        busy, total, ours = (now - then for now, then in zip(self._read(), self._begin))
        return max(0.0, 100 * (busy - ours) / total) if total else 0.0


_usable_cpus = os.sched_getaffinity(0)  # before this program leaves some of them


def usable_cpus():
    return _usable_cpus


def leave_cpus(*cpus):
    """Moves this program to the other CPUs, where there are any."""
    others = os.sched_getaffinity(0) - set(cpus)
    if others:
        os.sched_setaffinity(0, others)


def _first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def _built_with(build):
    """Compiler and build type, from what Meson left in the build folder."""
    build = pathlib.Path(build)
    try:
        options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
        commands = json.loads((build / "compile_commands.json").read_text())
        command = next((entry["command"] for entry in commands
                        if entry["file"].endswith("src/loop/loop.cc")), commands[0]["command"])
    except OSError:
        return {"compiler": "unknown", "buildtype": "unknown"}
    compiler = next(word for word in command.split() if word != "ccache")
    values = {option["name"]: option["value"] for option in options}
    return {"compiler": _first_line(compiler, "--version"), "buildtype": values["buildtype"],
            "flags": _flags(command), "lto": values.get("b_lto", False)}


def _flags(command):
    """What changes the code: optimisation, target, sanitizers; not warnings and paths."""
    return " ".join(word for word in command.split()
                    if re.match(r"-(O|g$|m|f(?!diagnostics)|std=)", word))


# How each library that a peer is made with says its version.
LIBRARIES = {"libuv": "libuv", "libevent": "libevent", "liburing": "liburing", "llhttp": "libllhttp"}


def library_versions():
    """Of the libraries that peers are made with, from pkg-config and the distribution."""
    versions = {}
    for package, module in LIBRARIES.items():
        version = _first_line("pkg-config", "--modversion", module)
        if version != "unknown":
            versions[package] = version
    for package in ("libev-dev", "libboost1.81-dev", "libasio-dev", "valgrind", "nginx", "haproxy", "nodejs"):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout:
            versions[package.removesuffix("-dev")] = done.stdout
    return versions


def describe_machine(build, place):
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _first_line("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        **_built_with(build),
        "kernel": platform.release(),
        "cpu": model.group(1) if model else platform.machine(),
        "cpus": os.cpu_count(),
        "measured on cpu": ", ".join(map(str, place.cpus)),
        "scheduling": "batch" if place.batch else "normal",
        "congestion control": congestion,
        "load average": round(os.getloadavg()[0], 2),
        "libraries": library_versions(),
    }


def machine_line(machine):
    libraries = " ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    plain = {key: value for key, value in machine.items() if key != "libraries"}
    return ", ".join(f"{key}: {value}" for key, value in plain.items()) + f"; {libraries}"
