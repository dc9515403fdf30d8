"""Measures what a plan asks for and is not yet in its record: cell by cell, in rounds that have every server once, in an
order shuffled by the seed. What fails is left out from there on, in that cell, with its reason."""

import json
import os
import random
import shlex
import subprocess
import sys

import harness
import matrix
import samplers
import summary
from harness import MeasureError

COUNTED_PASSES = ("syscalls", "heap")
MEMORY_ROUNDS = 3
SMALL_CAPACITY_MS = 1000


def servers_of(cell, plan, build):
    """Command by name: those of the cell that the plan has, in the order of the table."""
    table = harness.load_servers(build, cell.kind)
    names = plan["servers"] or (matrix.QUICK if plan["is_look"] else cell.servers or table)
    return {name: table[name] for name in table if name in names and (not cell.servers or name in cell.servers)}


def all_server_names():
    return {name for cell in matrix.CELLS for name in harness.load_servers("", cell.kind)}


class Runner:
    def __init__(self, record, build, show=True):
        self.record, self.build, self.show = record, build, show
        self.plan = record.plan
        self.cpu = self.plan["cpu"]
        self.client = harness.Client(build, harness.Place(self.cpu))
        self.upstream = harness.load_servers(build, "echo")["raw_epoll"]
        self.done = record.keys()
        self.dropped = record.left_out()

    def run(self):
        for name in self.plan["cells"]:
            cell = matrix.BY_NAME[name]
            self.run_cell(cell)
            if self.show:
                self.print_cell(cell)
        if self.plan["micro_rounds"]:
            self.run_micro()
            summary.print_micro(self.record)

    def run_micro(self):
        """Single operations of each library, in rounds as the cells."""
        programs = {name: shlex.split(command.replace("{build}", str(self.build)))
                    for name, command in matrix.MICRO_PROGRAMS.items()}
        names, done = {}, self.record.micro_keys()
        for library, command in programs.items():
            if ("micro", library) in self.dropped:
                continue
            missing = harness.why_missing(shlex.join(command))
            try:
                names[library] = [] if missing else run_program([*command, "--list"]).split()
            except MeasureError as error:
                missing = str(error)
            if missing:
                self.drop_named("micro", library, missing)
        for turn in range(self.plan["micro_rounds"]):
            order = list(names)
            random.Random(f"{self.plan['seed']}/micro/{turn}").shuffle(order)
            for library in order:
                for name in names[library]:
                    if (name, library, turn) in done or ("micro", library) in self.dropped:
                        continue
                    show_progress(f"micro, round {turn + 1}: {library}, {name}")
                    try:
                        result = json.loads(run_program([*programs[library], name, "1"]))
                        self.record.add({"micro": name, "library": library, "round": turn, "ns": result["ns_per_op"]})
                    except MeasureError as error:
                        self.drop_named("micro", library, str(error))
        show_progress("")

    def place(self, cell):
        if cell.cpus == 1:
            return harness.Place(self.cpu)
        return harness.Place(*sorted(harness.usable_cpus(), key=lambda cpu: cpu != self.cpu)[:cell.cpus])

    def steps(self, cell, servers):
        """(pass, round, server) in the order in which they are measured."""
        rounds = self.plan["rounds"]
        if cell.mode == "idle":
            for turn in range(1 if self.plan["is_look"] else min(MEMORY_ROUNDS, rounds)):
                yield from (("memory", turn, name) for name in servers)
            return
        for turn in range(rounds):
            names = [name for name in servers if name in matrix.MAIN or turn < self.plan["other_rounds"]]
            random.Random(f"{self.plan['seed']}/{cell.name}/{turn}").shuffle(names)
            yield from (("time", turn, name) for name in names)
        if not self.plan["counts"]:
            return
        for kind in COUNTED_PASSES if cell.counted else ():
            yield from ((kind, 0, name) for name in servers)
        if cell.instructions:
            yield from (("callgrind", 0, name) for name in servers)

    def run_cell(self, cell):
        servers = servers_of(cell, self.plan, self.build)
        reason = f"it needs {cell.cpus} processors" if cell.cpus > len(harness.usable_cpus()) else None
        for name, command in servers.items():
            missing = reason or samplers.why_no_descriptors(cell.descriptors, command) or harness.why_missing(command)
            if missing and (cell.name, name) not in self.dropped:
                self.drop(cell, name, missing)
        for kind, turn, name in self.steps(cell, servers):
            if (cell.name, name) in self.dropped or (cell.name, kind, name, turn) in self.done:
                continue
            show_progress(f"{cell.name}, {kind}, round {turn + 1}: {name}")
            try:
                self.sample(cell, kind, turn, name, servers[name])
            except (MeasureError, subprocess.TimeoutExpired) as error:
                if kind in summary.UNWATCHED:
                    self.drop(cell, name, str(error))
                else:  # the times stand; only this count is missing
                    self.record.add({"cell": cell.name, "server": name, "pass": kind, "round": turn, "figures": {},
                                     "missing": str(error)})
        show_progress("")

    def drop(self, cell, name, reason):
        self.drop_named(cell.name, name, reason)

    def drop_named(self, cell, name, reason):
        self.dropped[cell, name] = reason
        self.record.add({"cell": cell, "server": name, "left_out": reason})

    def sample(self, cell, kind, turn, name, command):
        place = self.place(cell)
        client = self.client if cell.cpus == 1 else harness.Client(self.build, place)
        work = cell.work(self.upstream)
        if cell.load_share:
            work.options["rate"] = max(1, int(self.capacity(cell) * cell.load_share))
        other = harness.OtherWork(*place.cpus)
        if kind == "time":
            figures = samplers.sample_load(work, client, place, name, command, self.plan["duration_ms"],
                                           self.plan["warmup_ms"])
        elif kind == "memory":
            figures = samplers.sample_idle(work, client, place, name, command)
        elif kind == "syscalls":
            figures = samplers.sample_syscalls(work, client, place, name, command, cell.counted)
        elif kind == "heap":
            figures = samplers.sample_heap(work, client, place, name, command, cell.counted)
        else:
            figures = samplers.sample_callgrind(work, client, place, name, command, cell.instructions)
        self.record.add({"cell": cell.name, "server": name, "pass": kind, "round": turn, "figures": figures,
                         "other_cpu_percent": round(other.percent(), 1)})
        self.done.add((cell.name, kind, name, turn))

    def capacity(self, cell):
        """Requests/s of the first server in a closed loop: the same for all, so that they are offered the same."""
        if self.record.capacity() is None:
            name, command = next(iter(harness.load_servers(self.build, matrix.CAPACITY_OF).items()))
            figures = samplers.sample_load(samplers.Work("echo", {**cell.options}), self.client, self.place(cell),
                                           name, command, SMALL_CAPACITY_MS, self.plan["warmup_ms"])
            self.record.add({"capacity": figures["requests_per_second"], "of": name})
        return self.record.capacity()

    def print_cell(self, cell):
        result = summary.CellSummary(cell, self.record)
        busy = " (BUSY: others used the processor, read with care)" if result.is_busy() else ""
        print(f"\n{cell.name}: {cell.title}{busy}")
        if result.servers:
            against = [name for name in ("raw_epoll", "libuv", "asio_coro") if name in result.servers]
            summary.print_rows(summary.table(result, against or result.servers[:1]))
        for name in servers_of(cell, self.plan, self.build):
            if (cell.name, name) in self.dropped:
                print(f"  left out: {name}: {self.dropped[cell.name, name]}")
        sys.stdout.flush()


def run_program(command):
    """Its output. The programs place their threads themselves, so it may use every processor."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=harness.CLIENT_SECONDS,
                          preexec_fn=lambda: os.sched_setaffinity(0, harness.usable_cpus()))
    if done.returncode != 0:
        raise MeasureError((done.stderr or done.stdout).strip()[-300:] or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def show_progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()
