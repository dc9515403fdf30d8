"""Every server of servers.json that is here answers its kind of load correctly: perf_client compares every byte. And says
why one is left out. BUILD names the build folder."""

import json
import os
import pathlib
import shlex
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "measure")]

import harness  # noqa: E402
import matrix  # noqa: E402
import runner  # noqa: E402
import samplers  # noqa: E402

BUILD = pathlib.Path(os.environ["BUILD"]).resolve()
CPU = max(os.sched_getaffinity(0))
LOADS = {  # kind: perf_client's mode, and its options: requests that are cut, many at once, or larger than a buffer
    "echo": [("echo", {"connections": 5, "size": 64, "pipeline": 7}), ("echo", {"connections": 3, "size": 300_000})],
    "service": [("echo", {"connections": 5, "size": 64, "pipeline": 7})],
    "fanout": [("fanout", {"connections": 20, "size": 256}), ("fanout", {"connections": 20, "size": 30_000})],
    "proxy": [("echo", {"connections": 3, "size": 300_000}), ("churn", {"connections": 3, "size": 64})],
    "http": [("http", {"connections": 5}), ("http", {"connections": 3, "pipeline": 7})],
    "loops": [("echo", {"connections": 5, "size": 64})],
    "idle_3_loops": [("echo", {"connections": 5, "size": 64})],
}


def why_not_here(name, command, place):
    """A backend that this machine refuses is no fault of the program."""
    if "{upstream}" in command:
        command = command.replace("{upstream}", "9")
    try:
        harness.Server(name, command, place).kill()
        return None
    except harness.MeasureError as error:
        return str(error)


class Peers(unittest.TestCase):
    def test_each_kind_of_cell_is_among_the_loads(self):
        self.assertEqual({cell.kind for cell in matrix.CELLS}, set(LOADS))

    def check(self, kind):
        place = harness.Place(CPU)
        client = harness.Client(BUILD, place)
        upstream = harness.load_servers(BUILD, "echo")["raw_epoll"]
        if missing := harness.why_missing(upstream):
            self.skipTest(missing)
        for name, command in harness.load_servers(BUILD, kind).items():
            if missing := harness.why_missing(command):
                print(f"left out: {kind}, {name}: {missing}")
                continue
            for mode, options in LOADS[kind]:
                with self.subTest(server=name, options=options):
                    if name.startswith("weir_") and (reason := why_not_here(name, command, place)):
                        self.skipTest(reason)
                    with harness.running(name, command, place, upstream) as server:
                        figures = client.run(mode, server, **options, warmup=20, requests=200, pid=server.pid)
                    self.assertGreaterEqual(figures["requests"], 200)


for kind in LOADS:
    setattr(Peers, f"test_{kind}", lambda self, kind=kind: self.check(kind))


class Micro(unittest.TestCase):
    """Each single operation of each library once; they check their own results."""

    def check(self, library):
        command = shlex.split(matrix.MICRO_PROGRAMS[library].replace("{build}", str(BUILD)))
        if missing := harness.why_missing(shlex.join(command)):
            self.skipTest(missing)
        names = runner.run_program([*command, "--list"]).split()
        for operation, *_ in matrix.MICRO_BOUNDS + matrix.MICRO_LIMITS:
            self.assertIn(operation, names)
        for name in names:
            if name.endswith("_1m") and library not in matrix.SUBJECTS:
                continue  # a million timers take a while; theirs do not change
            with self.subTest(name):
                try:
                    result = json.loads(runner.run_program([*command, name, "1"]))
                except harness.MeasureError as error:
                    if "io_uring" not in str(error):
                        raise
                    self.skipTest(str(error))
                self.assertEqual(result["bench"], name)
                self.assertGreater(result["ns_per_op"], 0)


for library in matrix.MICRO_PROGRAMS:
    setattr(Micro, f"test_{library}", lambda self, library=library: self.check(library))


class Samples(unittest.TestCase):
    def test_a_program_that_is_not_installed_is_told_in_a_line(self):
        self.assertRegex(harness.why_missing("/nonexistent/program 1"), "/nonexistent/program is not built")

    def test_limits_of_descriptors_are_told(self):
        self.assertIsNone(samplers.why_no_descriptors(10))
        self.assertRegex(samplers.why_no_descriptors(1 << 40), "need more descriptors than this machine's limit")


if __name__ == "__main__":
    unittest.main()
