"""Tests of the gates: that a planted regression (an allocation, a system call, a copy more in each send) is caught, and
how figures are judged. BUILD names the build folder."""

import contextlib
import io
import os
import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import gates  # noqa: E402

BUILD = pathlib.Path(os.environ["BUILD"]).resolve()
CPU = max(os.sched_getaffinity(0))


def compare(plant, only):
    """The gates that `only` names, with a regression in every send of the echo server on epoll."""
    libraries = f"{BUILD}/perf/gates/libplanted.so:{BUILD}/perf/measure/libcount_heap.so"
    planted = f"/usr/bin/env LD_PRELOAD={libraries} 'PLANT={plant}' {gates.SERVERS['epoll']}"
    _, limits = gates.load_limits()
    with contextlib.redirect_stdout(io.StringIO()):
        return gates.compare(gates.Bench(BUILD, CPU, {"epoll": planted}), limits, only)


class PlantedRegressions(unittest.TestCase):
    ROWS = [  # the plant, the gate, how much is over
        ("allocation", "heap_allocations.echo_epoll", 1),
        ("copy", "bytes_copied.echo_16k_epoll", 16384),
        ("system call", "system_calls_alone.echo_epoll_1", 1),
    ]

    def test_each_is_caught_and_only_by_being_planted(self):
        for plant, gate, least in self.ROWS:
            with self.subTest(plant=plant, gate=gate):
                clean, wrong = compare("nothing", gate), compare(plant, gate)
                if clean.skipped:
                    self.skipTest(clean.skipped[0])
                key = tuple(gate.split("."))
                self.assertGreaterEqual(wrong.values[key] - clean.values[key], least * 0.98)
                self.assertEqual(len(wrong.over), 1)
                self.assertRegex(wrong.over[0], rf"^over +{gate}: [\d.]+, limit [\d.]+ .*Look closer: ")


class Judging(unittest.TestCase):
    def test_tolerances(self):
        rows = [  # value, limit, tolerance, slack, verdict
            (102, 100, 0.02, 0, "held"), (102.1, 100, 0.02, 0, "over"), (98, 100, 0.02, 0, "held"), (97, 100, 0.02, 0, "under"),
            (3.01, 3, 0, 0, "over"), (3.004, 3, 0, 0.005, "held"), (4, 3, 0, 0.005, "over"),
            (0, 0, 0.02, 0.005, "held"), (1, 0, 0.02, 0.005, "over"), (-0.001, 0, 0.02, 0.005, "held"),
        ]
        for value, limit, tolerance, slack, verdict in rows:
            with self.subTest(value=value, limit=limit):
                self.assertEqual(gates.judge(value, limit, tolerance, slack), verdict)

    def test_every_gate_has_a_limit_and_every_limit_a_gate(self):
        _, limits = gates.load_limits()
        for group, names in gates.GATES.items():
            self.assertEqual(set(limits[group]["limits"]), set(names))

    def test_setting_limits_changes_the_figures_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "limits.toml")
            path.write_text(gates.LIMITS.read_text())
            gates.write_limits({("struct_bytes", "Buf"): 23, ("heap_allocations", "echo_epoll"): -0.001}, path)
            before, after = gates.LIMITS.read_text().splitlines(), path.read_text().splitlines()
            _, limits = gates.load_limits(path)
        self.assertEqual(limits["struct_bytes"]["limits"]["Buf"], 23)
        self.assertEqual(limits["heap_allocations"]["limits"]["echo_epoll"], 0)
        self.assertLessEqual(sum(a != b for a, b in zip(before, after)), 2)
        self.assertEqual(len(before), len(after))


if __name__ == "__main__":
    unittest.main()
