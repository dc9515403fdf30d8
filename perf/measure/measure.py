#!/usr/bin/env python3
"""Compares echo servers by figures that depend little on the machine's mood.

  measure.py echo       server CPU per request; requests/s, p50 and p99 beside it
  measure.py churn      the same for connect + one echo + reset
  measure.py syscalls   the server's system calls per request, counted by the kernel
  measure.py callgrind  the server's user instructions per request, 2 N requests against N
  measure.py idle       resident memory that each idle connection adds

Every sample has a fresh server, on one CPU with its client. In each round every server is measured
once, in an order shuffled by the seed that is printed; ratios are of samples of the same round.
A difference under 3 % is printed as equal. Intervals are 95 % and need 6 rounds.

The servers are in servers.json; --server NAME=COMMAND adds one, so two builds can be compared:
  measure.py echo --servers old,new --server 'old=/tmp/old/echo --listen 127.0.0.1:0' ..."""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys

import harness
import samplers
import stats
from harness import MeasureError

# Of each command: the figure servers are compared by, what it is, and what is shown beside it.
LOAD_FIGURES = {"requests_per_second": "requests/s", "p50_us": "p50 us", "p99_us": "p99 us",
                "client_cpu_us": "client us"}
FIGURES = {
    "echo": ("server_cpu_us", "server CPU us/request", LOAD_FIGURES),
    "churn": ("server_cpu_us", "server CPU us/connection", LOAD_FIGURES),
    "syscalls": ("server_syscalls", "system calls/request", {}),
    "callgrind": ("server_instructions", "user instructions/request", {}),
    "idle": ("bytes_per_connection", "RSS bytes/connection",
             {"kept_bytes": "kept after close"}),
}
DEPENDS_ON_LOAD = ("echo", "churn", "syscalls")  # the others do not care who else works
ROUNDS = {"echo": 7, "churn": 7, "syscalls": 1, "callgrind": 1, "idle": 1}
CONNECTIONS = {"echo": "1,32,256", "churn": "8", "syscalls": "1,32,256", "callgrind": "1,32",
               "idle": "9000"}
REQUESTS = {"syscalls": 20000, "callgrind": 4000}


def take_sample(args, client, name, command, connections):
    options = {"connections": connections, "size": args.size}
    if args.command == "idle":
        return samplers.sample_idle(samplers.Work("idle", options), client, args.place, name, command)
    mode = "churn" if args.command == "churn" else "echo"
    work = samplers.Work(mode, {**options, "pipeline": args.pipeline})
    if args.command == "syscalls":
        return samplers.sample_syscalls(work, client, args.place, name, command, args.requests)
    if args.command == "callgrind":
        return samplers.sample_callgrind(work, client, args.place, name, command, args.requests)
    return samplers.sample_load(work, client, args.place, name, command, args.duration_ms, args.warmup_ms)


def show_progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def take_samples(args, client, servers, connections, order, left_out):
    """All rounds of one cell. A server that fails is left out from there on, with its reason."""
    samples = {name: [] for name in servers if name not in left_out}
    for turn in range(args.rounds):
        names = list(samples)
        order.shuffle(names)
        for name in names:
            show_progress(f"{args.command}, {connections} connections, "
                          f"round {turn + 1} of {args.rounds}: {name}")
            try:
                samples[name].append(
                    take_sample(args, client, name, servers[name], connections))
            except (MeasureError, subprocess.TimeoutExpired) as error:
                left_out[name] = f"{connections} connections: {error}"
                del samples[name]
    show_progress("")
    return samples


def measure_cell(args, client, servers, connections, order, left_out):
    work = harness.OtherWork(*args.place.cpus)
    samples = take_samples(args, client, servers, connections, order, left_out)
    cell = {"connections": connections, "size": args.size, "pipeline": args.pipeline,
            "other_cpu_percent": round(work.percent(), 1), "servers": {}}
    key, _, beside = FIGURES[args.command]
    for name in [name for name in servers if name in samples]:  # in the order asked for
        column = {k: [row[k] for row in samples[name]] for k in (key, *beside)}
        against = {base: stats.paired_ratio(column[key], [row[key] for row in samples[base]])
                   for base in args.against if base in samples and base != name}
        cell["servers"][name] = {"figures": {k: stats.describe(v) for k, v in column.items()},
                                 "against": against, "samples": samples[name]}
    return cell


def format_figure(value):
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def print_cell(args, cell):
    key, title, beside = FIGURES[args.command]
    other = cell["other_cpu_percent"]
    is_busy = other > harness.BUSY_PERCENT and args.command in DEPENDS_ON_LOAD
    print(f"\n{cell['connections']} connections x {cell['size']} B, "
          f"pipeline {cell['pipeline']}, rounds: {args.rounds}; others used {other} % of the CPU"
          + (" (BUSY: read with care)" if is_busy else ""))
    rows = [["", title, "min..max", *(f"against {base}" for base in args.against),
             *beside.values()]]
    for name, server in cell["servers"].items():
        median, least, most = (format_figure(server["figures"][key][k])
                               for k in ("median", "min", "max"))
        ratios = ["1" if base == name else stats.format_ratio(server["against"].get(base))
                  for base in args.against]
        rows.append([name, median, f"{least}..{most}", *ratios,
                     *(format_figure(server["figures"][k]["median"]) for k in beside)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, *cells in rows:
        print(name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:])), sep="  ")


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def positive_list(text):
    return [positive(part) for part in text.split(",")]


def add_options(parser, name):
    add = parser.add_argument
    add("--servers", help="from the table, comma-separated (default: all that are built)")
    add("--server", action="append", default=[], metavar="NAME=COMMAND",
        help="one more; {port} and {build} are filled in")
    add("--against", help="compare with these, comma-separated (default: the first server)")
    add("--connections", type=positive_list, default=CONNECTIONS[name],
        help="comma-separated, a cell each (%(default)s)")
    add("--size", type=positive, default=64, help="bytes of a request (%(default)s)")
    add("--rounds", type=positive, default=ROUNDS[name], help="samples a server (%(default)s)")
    add("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the order")
    add("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="(%(default)s)")
    add("--batch", action="store_true", help="SCHED_BATCH: a wakeup does not preempt")
    add("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="(%(default)s)")
    add("--json", type=pathlib.Path, help="write all samples to this file")
    if name in ("echo", "syscalls", "callgrind"):
        add("--pipeline", type=positive, default=1,
            help="requests out at once on a connection (%(default)s)")
    if name in ("echo", "churn"):
        add("--duration-ms", type=positive, default=500, help="of a sample (%(default)s)")
        add("--warmup-ms", type=int, default=200, help="thrown away before it (%(default)s)")
    if name in REQUESTS:
        add("--requests", type=positive, default=REQUESTS[name], help="(%(default)s)")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(FIGURES))
    for name, (_, title, _) in FIGURES.items():
        add_options(commands.add_parser(name, help=title), name)
    args = parser.parse_args(argv)
    args.pipeline = getattr(args, "pipeline", 1)
    args.place = harness.Place(args.cpu, batch=args.batch)
    return args


def choose_servers(args, left_out):
    """The servers asked for, in that order; what is not built goes to `left_out`."""
    table = harness.load_servers(args.build.resolve(), extra=args.server)
    names = args.servers.split(",") if args.servers else list(table)
    for name in names:
        if name not in table:
            raise MeasureError(f"no server '{name}'; there are: {', '.join(table)}")
        missing = harness.why_missing(table[name])
        if missing:
            left_out[name] = missing
    servers = {name: table[name] for name in names if name not in left_out}
    args.against = args.against.split(",") if args.against else list(servers)[:1]
    for base in args.against:
        if base not in servers:
            raise MeasureError(f"--against {base}: it is not among the servers to measure")
    return servers


def run(args):
    left_out = {}
    servers = choose_servers(args, left_out)
    client = harness.Client(args.build, args.place)
    harness.leave_cpus(*args.place.cpus)
    result = {"format": 1, "command": args.command, "seed": args.seed, "rounds": args.rounds,
              "machine": harness.describe_machine(args.build, args.place), "servers": servers,
              "left_out": left_out, "cells": []}
    print(harness.machine_line(result["machine"]))
    print(f"{args.command}, seed {args.seed}")
    order = random.Random(args.seed)
    for connections in args.connections:
        result["cells"].append(
            measure_cell(args, client, servers, connections, order, left_out))
        print_cell(args, result["cells"][-1])
        if args.json:  # as the results come: an interrupted run keeps what it has
            args.json.write_text(json.dumps(result, indent=1) + "\n")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    return 1 if any(name in left_out for name in servers) else 0


def main(argv):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended
    try:
        return run(parse_arguments(argv))
    except KeyboardInterrupt:
        print("measure.py: interrupted", file=sys.stderr)
        return 130
    except MeasureError as error:
        print(f"measure.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
