#!/usr/bin/env python3
"""Holds the figures that do not depend on the machine's mood against perf/gates/limits.toml.

  gates.py                  measure everything, compare, and say what to look at
  gates.py --only echo      those whose name has this in it
  gates.py --set            write today's figures as the limits (after an improvement; say why in the commit)

Exit status: 0 held, 1 not held, 77 nothing could be measured here (the last line says why).
It belongs to the release configuration: other compilers and options give other figures."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "measure")]

import harness  # noqa: E402
import samplers  # noqa: E402

LIMITS = HERE / "limits.toml"
ECHO = "{build}/examples/echo --listen 127.0.0.1:0 --backend "
PROXY = "{build}/examples/tcp_proxy --listen 127.0.0.1:0 --upstream 127.0.0.1:{upstream} --backend epoll"
HTTP = "{build}/examples/http_hello --listen 127.0.0.1:0 --backend epoll"
SERVERS = {
    "epoll": ECHO + "epoll", "epoll_handler": ECHO + "epoll --style handler",
    "io_uring": ECHO + "io_uring", "io_uring_handler": ECHO + "io_uring --style handler",
    "proxy": PROXY, "http": HTTP,
}


class Bench:
    """Measures one gate by its name. `override` replaces the command of a server, for the test of the gates."""

    def __init__(self, build, cpu, override=None):
        self.build = build
        self.place = harness.Place(cpu, batch=True)  # a wakeup does not preempt: counts depend less on chance
        self.client = harness.Client(build, self.place)
        self.servers = {**SERVERS, **(override or {})}
        self.upstream = self.command(ECHO + "epoll")

    def command(self, text):
        return text.replace("{build}", str(self.build))

    def _sample(self, sampler, server, options, requests, mode="echo"):
        # In lockstep the batches that a server sees are always the same.
        work = samplers.Work(mode, {**options, "lockstep": True}, self.upstream)
        return sampler(work, self.client, self.place, server, self.command(self.servers[server]), requests)

    def instructions(self, server, connections, size=64, requests=6000):
        return self._sample(samplers.sample_callgrind, server, {"connections": connections, "size": size},
                            requests)["server_instructions"]

    def http_instructions(self):
        return self._sample(samplers.sample_callgrind, "http", {"connections": 1}, 4000, "http")["server_instructions"]

    def operation(self, name, count):
        """Instructions of perf/gates/operations: 2 N less N."""
        totals = []
        with tempfile.TemporaryDirectory() as folder:
            for number in (count, 2 * count):
                command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                           str(self.build / "perf/gates/operations"), name, str(number)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise harness.MeasureError(done.stderr.strip()[-300:])
                totals.append(int(re.search(r"^(?:summary|totals): (\d+)", pathlib.Path(folder, "out").read_text(), re.M)[1]))
        return (totals[1] - totals[0]) / count

    def syscalls(self, server, connections):
        return self._sample(samplers.sample_syscalls, server, {"connections": connections, "size": 64},
                            10000)["server_syscalls"]

    def heap(self, server, options, mode="echo", requests=3000):
        return self._sample(samplers.sample_heap, server, options, requests, mode)

    def idle(self, server, connections=4000):
        work = samplers.Work("idle", {"connections": connections, "size": 64})
        return samplers.sample_idle(work, self.client, self.place, server,
                                    self.command(self.servers[server]))["bytes_per_connection"]

    def size_of(self, struct):
        done = subprocess.run([str(self.build / "perf/gates/sizes")], capture_output=True, text=True, check=True)
        return int(re.search(rf"^{struct} (\d+)$", done.stdout, re.M)[1])

    def static_program(self):
        return (self.build / "perf/gates/echo_static").stat().st_size


SMALL, LARGE = {"connections": 32, "size": 64}, {"connections": 8, "size": 16384}

# Group in limits.toml: {name: how it is measured}.
GATES = {
    "instructions": {
        **{f"echo_{server}_{connections}": lambda b, s=server, c=connections: b.instructions(s, c)
           for server in ("epoll", "epoll_handler", "io_uring", "io_uring_handler") for connections in (1, 32)},
        "proxy_chunk_16k": lambda b: b.instructions("proxy", 1, 16384, 2000),
        "http_request": lambda b: b.http_instructions(),
        "timer_arm_cancel": lambda b: b.operation("timer", 20000),
        "post_64_at_once": lambda b: b.operation("post", 20000),
    },
    "system_calls_alone": {f"echo_{server}_1": lambda b, s=server: b.syscalls(s, 1) for server in ("epoll", "io_uring")},
    "system_calls_many": {f"echo_{server}_{connections}": lambda b, s=server, c=connections: b.syscalls(s, c)
                          for server in ("epoll", "io_uring") for connections in (32, 256)},
    "heap_allocations": {
        **{f"echo_{server}": lambda b, s=server: b.heap(s, SMALL)["heap_allocations"] for server in ("epoll", "io_uring")},
        "proxy_chunk_16k": lambda b: b.heap("proxy", LARGE)["heap_allocations"],
        "http_request": lambda b: b.heap("http", {"connections": 8}, "http")["heap_allocations"],
    },
    "bytes_copied": {
        **{f"echo_16k_{server}": lambda b, s=server: b.heap(s, LARGE)["copied_bytes"] for server in ("epoll", "io_uring")},
        "proxy_chunk_16k": lambda b: b.heap("proxy", LARGE)["copied_bytes"],
    },
    "idle_connection_bytes": {server: lambda b, s=server: b.idle(s)
                              for server in ("epoll", "epoll_handler", "io_uring", "io_uring_handler")},
    "struct_bytes": {struct: lambda b, s=struct: b.size_of(s) for struct in (
        "Block", "Buf", "Completion", "PromiseBase", "RecvOp", "SendOp", "SocketCore", "Timer", "TimerNode")},
    "program_bytes": {"echo_static": lambda b: b.static_program()},
}


def load_limits(path=LIMITS):
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    made_with = table.pop("made_with")
    for group in GATES:
        if group not in table:
            raise harness.MeasureError(f"{path.name} has no group '{group}'")
        for name in table[group]["limits"]:
            if name not in GATES[group]:
                raise harness.MeasureError(f"{path.name}: nothing measures '{group}.{name}'")
    return made_with, table


def judge(value, limit, tolerance, slack):
    """'held', 'over', or 'under': it could be lowered. `slack` is an absolute allowance, for limits near zero."""
    room = limit * tolerance + slack
    if value > limit + room:
        return "over"
    return "under" if value < limit - room else "held"


def format_value(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}".rstrip("0").rstrip(".")


class Outcome:
    """The lines of a run, and its report for ./dev test."""

    def __init__(self):
        self.over, self.held_count, self.skipped, self.values = [], 0, [], {}
        self.report = ElementTree.Element("testsuite")

    def add(self, group, name, verdict, text):
        case = ElementTree.SubElement(self.report, "testcase", classname=f"Gates.{group}", name=name, status="run")
        if verdict == "over":
            self.over.append(text)
            ElementTree.SubElement(case, "failure", message=text)
        elif verdict == "skipped":
            self.skipped.append(text)
            ElementTree.SubElement(case, "skipped", message=text)
        else:
            self.held_count += 1
        print(text, flush=True)


def compare(bench, limits, only=""):
    """Measures every gate with a limit and compares."""
    outcome = Outcome()
    for group, rules in limits.items():
        for name, limit in rules["limits"].items():
            if only not in f"{group}.{name}":
                continue
            try:
                value = GATES[group][name](bench)
            except harness.MeasureError as error:
                outcome.add(group, name, "skipped", f"skipped  {group}.{name}: {error}")
                continue
            outcome.values[group, name] = value
            verdict = judge(value, limit, rules["tolerance"], rules.get("slack", 0))
            text = f"{verdict:8} {group}.{name}: {format_value(value)}, limit {format_value(limit)}"
            if verdict == "over":
                text += f" (+{rules['tolerance']:.0%}). Look closer: {rules['look'].replace('NAME', name)}"
            elif verdict == "under":
                text += ": lower the limit"
            outcome.add(group, name, verdict, text)
    return outcome


def write_limits(values, path=LIMITS):
    """Puts the figures into the file and leaves everything else as it is."""
    group, lines = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\[(\w+)\.limits\]", line):
            group = found[1]
        elif found := re.match(r"(\w+)( *= *)[\d.]+(.*)$", line):
            if (group, found[1]) in values and not line.startswith(("tolerance", "slack")):
                line = f"{found[1]}{found[2]}{format_value(max(0, values[group, found[1]]))}{found[3]}"
        elif line.startswith("["):
            group = ""
        lines.append(line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compiler_of(build):
    found = re.search(r"^(\S+).*?(\d+)\.\d+\.\d+\s*$", harness._built_with(build)["compiler"])
    return f"{found[1]} {found[2]}" if found else "unknown"


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--set", action="store_true", help="write today's figures as the limits")
    parser.add_argument("--cpu", type=int, default=max(harness.usable_cpus()))
    args = parser.parse_args(argv)
    made_with, limits = load_limits()
    build = args.build.resolve()
    if compiler_of(build) != made_with["compiler"]:
        print(f"the limits were set with {made_with['compiler']}; this is built with {compiler_of(build)}")
        return 77
    harness.leave_cpus(args.cpu)
    outcome = compare(Bench(build, args.cpu), limits, args.only)
    if args.set:
        write_limits(outcome.values)
    elif "REPORT" in os.environ:
        ElementTree.ElementTree(outcome.report).write(os.environ["REPORT"])
    print(f"{outcome.held_count} held, {len(outcome.over)} over, {len(outcome.skipped)} skipped")
    return 1 if outcome.over and not args.set else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
