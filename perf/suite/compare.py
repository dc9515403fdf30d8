"""./dev perf compare A B: two result files side by side, or two commits, built and measured here in pairs.

Two files were measured at two times, so that only their medians can be compared. Two commits are measured as two servers of
the same rounds: that is the way to find out whether a change made weir faster."""

import argparse
import os
import pathlib
import random
import shutil
import statistics
import subprocess

import harness
import matrix
import measure
import record as records
import samplers
import stats
import summary

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUBJECTS = ("weir_epoll", "weir_uring")
MUST_MATCH = ("cpu", "kernel", "compiler", "flags")
BUILT_PROGRAMS = ("examples/echo", "examples/http_hello", "examples/tcp_proxy", "examples/fanout", "perf/suite/service/service")


def main(argv):
    parser = argparse.ArgumentParser(prog="./dev perf compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("a", metavar="A", help="a result file, or a commit")
    add("b", metavar="B")
    add("--cells", default="echo_64_1,echo_64_32,echo_64_256,echo_pipelined,echo_16k,echo_256k",
        help="of two commits: comma-separated (%(default)s)")
    add("--servers", default=",".join(SUBJECTS), help="of two commits (%(default)s)")
    add("--rounds", type=measure.positive, default=20)
    add("--duration-ms", type=measure.positive, default=500)
    add("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    add("--cpu", type=int, default=max(harness.usable_cpus()))
    args = parser.parse_args(argv)
    are_files = [pathlib.Path(name).is_file() for name in (args.a, args.b)]
    if all(are_files):
        return compare_files(args.a, args.b)
    if any(are_files):
        raise harness.MeasureError("compare wants two result files or two commits, not one of each")
    return compare_commits(args)


# --- Two files -----------------------------------------------------------------------------------

def compare_files(path_a, path_b):
    a, b = records.load(path_a), records.load(path_b)
    for key in MUST_MATCH:
        if a.machine.get(key) != b.machine.get(key):
            print(f"{key} differs: {a.machine.get(key)} and {b.machine.get(key)}: only the counts can be compared")
    cells_b = {cell.cell.name: cell for cell in summary.summarise(b)}
    rows = [["cell, server, figure", path_a, path_b, "B / A"]]
    for cell in summary.summarise(a):
        other = cells_b.get(cell.cell.name)
        if other is None:
            continue
        for server in cell.servers:
            for figure in (cell.cell.figure, *summary.COUNTED):
                values = cell.median(server, figure), other.median(server, figure)
                if None not in values:
                    rows.append([f"{cell.cell.name}, {server}, {matrix.FIGURE_TITLES[figure].removesuffix(' per request')}",
                                 *map(summary.format_figure, values), file_ratio(*values)])
    if len(rows) == 1:
        raise harness.MeasureError(f"{path_a} and {path_b} have no cell in common")
    summary.print_rows(rows)
    print("Ratios of medians of two runs, not of pairs: the machine may have been in two moods.")
    return 0


def file_ratio(before, after):
    if abs(before) < 0.005:
        return "equal" if abs(after) < 0.005 else "-"
    return "equal" if stats.is_equal(after / before) else f"{after / before:.2f}"


# --- Two commits ---------------------------------------------------------------------------------

def git(*words):
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.MeasureError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def find_commit(name):
    return git("rev-parse", "--short=12", "--verify", f"{name}^{{commit}}")


def build_commit(name, sha):
    """The build folder of a commit, under build/compare; what was built there before is used again."""
    source, build = (ROOT / "build/compare" / sha / part for part in ("source", "build"))
    if not source.exists():
        source.mkdir(parents=True)
        subprocess.run(f"git -C '{ROOT}' archive {sha} | tar -x -C '{source}'", shell=True, check=True)
        for fetched in ("packagecache", "llhttp/fetched"):
            if (ROOT / "subprojects" / fetched).exists() and not (source / "subprojects" / fetched).exists():
                shutil.copytree(ROOT / "subprojects" / fetched, source / "subprojects" / fetched)
    log = build.parent / "log"
    print(f"building {name} ({sha}), see {log.relative_to(ROOT)}", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        if not (build / "build.ninja").exists():
            run_logged(["meson", "setup", str(build), str(source), "-Dbuildtype=debugoptimized", "-Dtests=disabled"], file)
        known = subprocess.run(["ninja", "-C", str(build), "-t", "targets", "all"], capture_output=True, text=True, check=False)
        targets = [name for name in BUILT_PROGRAMS if f"\n{name}:" in known.stdout]
        run_logged(["ninja", "-C", str(build), *targets], file)
    return build


def run_logged(command, file):
    if subprocess.run(command, stdout=file, stderr=file, check=False, env={**os.environ, "CC": "gcc", "CXX": "g++"}).returncode != 0:
        raise harness.MeasureError(f"{' '.join(command[:2])} failed: see {pathlib.Path(file.name).relative_to(ROOT)}")


def compare_commits(args):
    names = args.cells.split(",")
    for name in names:
        if name not in matrix.BY_NAME:
            raise harness.MeasureError(f"no cell '{name}'; there are: {', '.join(matrix.BY_NAME)}")
    commits = [find_commit(name) for name in (args.a, args.b)]
    builds = [build_commit(name, commit) for name, commit in zip((args.a, args.b), commits)]
    release = ROOT / "build/release"
    place = harness.Place(args.cpu)
    client = harness.Client(release, place)
    print(harness.machine_line(harness.describe_machine(builds[0], place)))
    print(f"A is {commits[0]}, B is {commits[1]}; {args.rounds} pairs of {args.duration_ms} ms, seed {args.seed}\n", flush=True)
    harness.leave_cpus(args.cpu)
    rows = [["cell, server", "A", "B", "B / A"]]
    for name in names:
        for server in args.servers.split(","):
            rows.append(pair(args, client, place, matrix.BY_NAME[name], server, builds))
    summary.print_rows(rows)
    print("Medians of the cell's figure; ratios are of pairs, with their 95 % interval.")
    return 0


def pair(args, client, place, cell, server, builds):
    """One row: the same server of both builds in interleaved rounds."""
    commands = []
    for build in builds:
        table = harness.load_servers(build, cell.kind)
        if server not in table:
            raise harness.MeasureError(f"no server '{server}' for {cell.name}; there are: {', '.join(table)}")
        if missing := harness.why_missing(table[server]):
            return [f"{cell.name}, {server}", "-", "-", f"left out: {missing}"]
        commands.append(table[server])
    upstream = harness.load_servers(ROOT / "build/release", "echo")["raw_epoll"]
    values = ([], [])
    other = harness.OtherWork(*place.cpus)
    for turn in range(args.rounds if cell.figure == matrix.CPU else 1):
        order = [0, 1]
        random.Random(f"{args.seed}/{cell.name}/{server}/{turn}").shuffle(order)
        for i in order:
            work = cell.work(upstream)
            if cell.mode == "idle":
                figures = samplers.sample_idle(work, client, place, server, commands[i])
            else:
                figures = samplers.sample_load(work, client, place, server, commands[i], args.duration_ms, args.duration_ms // 4)
            values[i].append(figures[cell.figure])
    busy = "  BUSY" if other.percent() > harness.BUSY_PERCENT else ""
    return [f"{cell.name}, {server}", *(summary.format_figure(statistics.median(v)) for v in values),
            stats.format_ratio(stats.paired_ratio(values[1], values[0])) + busy]
