#!/usr/bin/env python3
"""Measures weir beside its opponents over the matrix of cells (perf/suite/matrix.py), and writes the result as it comes.

  ./dev perf                  the core cells, every server, 7 rounds, with counts; then the report
  ./dev perf --quick          the core cells against libuv, Asio and raw loops, in under 3 minutes: a look, not a claim
  ./dev perf --full           every cell, 20 rounds: about an hour and a half
  ./dev perf --resume FILE    go on with a run that was interrupted
  ./dev perf micro            single operations: timers, posts, turns, beside other libraries
  ./dev perf compare A B      two result files, or two commits (built and measured here, in pairs)
  ./dev perf report FILE      the page of a result
  ./dev perf document FILE    the tables of docs/performance.md from a result
  ./dev perf list             the cells and their servers
  ./dev perf echo|churn|syscalls|callgrind|idle ...   one question about echo servers: perf/measure/measure.py
docs/internals/measuring.md says how it is measured and why so."""

import argparse
import pathlib
import random
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "perf/measure"), str(ROOT / "perf/report")]

import harness  # noqa: E402
import matrix  # noqa: E402
import measure  # noqa: E402
import record as records  # noqa: E402
import runner  # noqa: E402
import summary  # noqa: E402

MODES = {  # rounds, those of servers that no ratio is claimed of, and the length of a sample
    "quick": {"rounds": 3, "other_rounds": 3, "duration_ms": 500, "warmup_ms": 100, "counts": False, "micro_rounds": 0},
    "normal": {"rounds": 7, "other_rounds": 7, "duration_ms": 500, "warmup_ms": 200, "counts": True, "micro_rounds": 5},
    "full": {"rounds": 20, "other_rounds": 7, "duration_ms": 500, "warmup_ms": 200, "counts": True, "micro_rounds": 9},
    "micro": {"rounds": 1, "other_rounds": 1, "duration_ms": 500, "warmup_ms": 200, "counts": False, "micro_rounds": 7},
}
MUST_MATCH = ("commit", "compiler", "flags", "kernel", "cpu")  # to go on with a run


def parse_run(argv):
    parser = argparse.ArgumentParser(prog="./dev perf", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", default="normal")
    mode.add_argument("--full", dest="mode", action="store_const", const="full")
    mode.add_argument("--micro", dest="mode", action="store_const", const="micro", help="single operations (also: micro)")
    add("--resume", type=pathlib.Path, metavar="FILE", help="go on with this result; its plan stands")
    add("--cells", help="these only, comma-separated")
    add("--servers", help="these only, comma-separated")
    add("--rounds", type=measure.positive)
    add("--duration-ms", type=measure.positive)
    add("--counts", choices=("yes", "no"), help="system calls, instructions, allocations, copies (no with --quick)")
    add("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the order of each round")
    add("--cpu", type=int, default=max(harness.usable_cpus()), help="of server and client (%(default)s)")
    add("--build", type=pathlib.Path, default=ROOT / "build/release")
    add("--out", type=pathlib.Path, help="the result's name without ending (build/perf/DATE-MODE)")
    return parser.parse_args(argv)


def choose(text, known, what):
    """The names in `text`, each of which must be known."""
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise harness.MeasureError(f"no {what} '{name}'; there are: {', '.join(known)}")
    return names


def make_plan(args):
    mode = dict(MODES[args.mode])
    if args.rounds:
        mode.update(rounds=args.rounds, other_rounds=min(args.rounds, mode["other_rounds"]))
    if args.duration_ms:
        mode["duration_ms"] = args.duration_ms
    if args.counts:
        mode["counts"] = args.counts == "yes"
    cells = [cell.name for cell in matrix.CELLS if args.mode != "micro" and (cell.is_core or args.mode == "full")]
    if args.mode == "micro" and args.rounds:
        mode["micro_rounds"] = args.rounds
    if args.cells:
        mode["micro_rounds"] = 0
        cells = choose(args.cells, list(matrix.BY_NAME), "cell")
    servers = choose(args.servers, sorted(runner.all_server_names()), "server") if args.servers else []
    if args.cpu not in harness.usable_cpus():
        raise harness.MeasureError(f"no processor {args.cpu} here; there are: {sorted(harness.usable_cpus())}")
    return {"mode": args.mode, "is_look": args.mode == "quick", "seed": args.seed, "cpu": args.cpu, "cells": cells,
            "servers": servers, **mode}


def open_record(args):
    """The record to write to, and its name without ending."""
    if not args.resume:
        base = args.out or ROOT / "build/perf" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{args.mode}"
        plan = make_plan(args)
        machine = harness.describe_machine(args.build, harness.Place(args.cpu))
        return records.Record.create(base.with_suffix(".jsonl"), plan, machine), base
    record = records.load(args.resume, for_writing=True)
    now = harness.describe_machine(args.build, harness.Place(record.plan["cpu"]))
    for key in MUST_MATCH:
        if now[key] != record.machine[key]:
            raise harness.MeasureError(f"{args.resume} was measured with {key} {record.machine[key]}, here it is {now[key]}: "
                                       "not one result. What it has is kept; ./dev perf report shows it")
    return record, args.resume.with_suffix("")


def run(argv):
    args = parse_run(argv)
    args.build = args.build.resolve()
    record, base = open_record(args)
    plan = record.plan
    print(harness.machine_line(record.machine))
    print(f"{plan['mode']}: {len(plan['cells'])} cells, {plan['rounds']} rounds of {plan['duration_ms']} ms, seed {plan['seed']}, "
          f"server and client on processor {plan['cpu']}")
    if plan["is_look"]:
        print("A look, not a claim.")
    if record.machine["load average"] > 0.5:
        print(f"The machine has other work (load average {record.machine['load average']}): the times are only as good as that")
    sys.stdout.flush()
    one = runner.Runner(record, args.build, show=not plan["is_look"])
    harness.leave_cpus(plan["cpu"])
    try:
        one.run()
    except KeyboardInterrupt:
        print(f"\ninterrupted; go on with: ./dev perf --resume {relative(base.with_suffix('.jsonl'))}", file=sys.stderr)
        return 130
    finish(record, base, one)
    return 0


def finish(record, base, one):
    cells = summary.summarise(record)
    if cells:
        summary.print_ratios(cells, record.plan)
    if record.plan["is_look"]:
        for cell in cells:
            if cell.is_busy():
                print(f"BUSY: others used the processor in {cell.cell.name}")
        for (cell, name), reason in one.dropped.items():
            print(f"left out: {cell}, {name}: {reason}")
    reasons = {}
    for (_, _, kind), reason in record.missing().items():
        reasons.setdefault((kind, reason), []).append(kind)
    for (kind, reason), times in reasons.items():
        print(f"not counted, {kind}, {len(times)} times: {reason}")
    record.save_document(base.with_suffix(".json"))
    write_page(record, base.with_suffix(".html"))
    print(f"\n{relative(base.with_suffix('.html'))} and .json beside it")


def write_page(record, path):
    import page
    path.write_text(page.render(record), encoding="utf-8")


def relative(path):
    path = path.resolve()
    return path.relative_to(pathlib.Path.cwd()) if path.is_relative_to(pathlib.Path.cwd()) else path


def report(argv):
    if len(argv) not in (1, 2):
        raise harness.MeasureError("usage: ./dev perf report FILE [PAGE.html]")
    record = records.load(argv[0])
    target = pathlib.Path(argv[1] if len(argv) == 2 else argv[0]).with_suffix(".html")
    write_page(record, target)
    print(relative(target))
    return 0


def document(argv):
    if len(argv) != 1:
        raise harness.MeasureError("usage: ./dev perf document FILE")
    import document as documents
    target = ROOT / "docs/performance.md"
    target.write_text(documents.fill(target.read_text(encoding="utf-8"), records.load(argv[0])), encoding="utf-8")
    print(relative(target))
    return 0


def list_cells():
    for cell in matrix.CELLS:
        names = cell.servers or harness.load_servers("", cell.kind)
        print(f"{cell.name:16} {'core' if cell.is_core else 'full':5} {cell.title}\n{'':23}{', '.join(names)}")
    return 0


def main(argv):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        command = argv[0] if argv else ""
        if command in measure.FIGURES:
            return measure.main(argv)
        if command == "compare":
            import compare
            return compare.main(argv[1:])
        if command == "report":
            return report(argv[1:])
        if command == "document":
            return document(argv[1:])
        if command == "list":
            return list_cells()
        if command == "micro":
            return run(["--micro", *argv[1:]])
        if command and not command.startswith("-"):
            raise harness.MeasureError(f"no command '{command}'; ./dev perf --help lists them")
        return run(argv)
    except KeyboardInterrupt:
        print("perf: interrupted", file=sys.stderr)
        return 130
    except (harness.MeasureError, records.RecordError) as error:
        print(f"perf: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
