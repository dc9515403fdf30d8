"""Tests of the suite: plans, records that are cut off and gone on with, ratios and verdicts. One tiny run is real.
BUILD names the build folder."""

import io
import json
import os
import pathlib
import contextlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "measure"), str(HERE.parent / "report")]

import harness  # noqa: E402
import matrix  # noqa: E402
import record as records  # noqa: E402
import runner  # noqa: E402
import suite  # noqa: E402
import summary  # noqa: E402

BUILD = pathlib.Path(os.environ["BUILD"])
MACHINE = {"date": "2026-01-01", "commit": "abc", "compiler": "gcc", "flags": "-O2", "kernel": "6", "cpu": "x", "libraries": {}}
PLAN = {"cells": ["echo_64_1"], "servers": [], "rounds": 3, "other_rounds": 3, "seed": 7, "cpu": 0, "counts": True,
        "is_look": False, "mode": "normal", "duration_ms": 10, "warmup_ms": 5}


def sample(server, turn, value, kind="time", figure="server_cpu_us", cell="echo_64_1"):
    return {"cell": cell, "server": server, "pass": kind, "round": turn, "figures": {figure: value}, "other_cpu_percent": 0.0}


def record_of(*lines):
    return records.Record({"weir_perf": records.FORMAT, "plan": PLAN, "machine": MACHINE}, lines)


class Records(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, "a.jsonl")

    def test_a_torn_last_line_is_dropped_and_the_rest_kept(self):
        record = records.Record.create(self.path, PLAN, MACHINE)
        record.add(sample("libuv", 0, 1.5))
        record.add(sample("libuv", 1, 1.6))
        self.path.write_text(self.path.read_text()[:-20])
        again = records.load(self.path, for_writing=True)
        self.assertEqual(again.keys(), {("echo_64_1", "time", "libuv", 0)})
        again.add(sample("libuv", 1, 1.7))
        self.assertEqual([line["figures"]["server_cpu_us"] for line in records.load(self.path).lines], [1.5, 1.7])

    def test_the_document_says_what_the_lines_say(self):
        record = records.Record.create(self.path, PLAN, MACHINE)
        record.add(sample("libuv", 0, 1.5))
        document = self.path.with_suffix(".json")
        record.save_document(document)
        self.assertEqual(json.loads(document.read_text())["weir_perf"], records.FORMAT)
        self.assertEqual(records.load(document).lines, record.lines)
        self.assertEqual(records.load(document).head, record.head)

    def test_what_could_not_be_counted_is_told_and_not_tried_again(self):
        record = records.Record.create(self.path, PLAN, MACHINE)
        record.add({"cell": "echo_64_1", "server": "libuv", "pass": "syscalls", "round": 0, "figures": {}, "missing": "no tracefs"})
        self.assertEqual(record.missing(), {("echo_64_1", "libuv", "syscalls"): "no tracefs"})
        self.assertIn(("echo_64_1", "syscalls", "libuv", 0), record.keys())

    def test_refuses_what_it_cannot_read(self):
        rows = [("", "is empty"), ("hello\n", "is no result"), ('{"a": 1}\n', "is no result"),
                ('{"weir_perf": 99, "plan": {}}\n', "of format 99; this version reads format 1"),
                ('{"weir_perf": 1, "lines": [\n', "damaged")]
        for text, message in rows:
            with self.subTest(text=text):
                self.path.write_text(text)
                with self.assertRaisesRegex(records.RecordError, message):
                    records.load(self.path)
        with self.assertRaisesRegex(records.RecordError, "No such file"):
            records.load(self.path.with_name("none"))


class Plans(unittest.TestCase):
    def test_there_are_thirteen_core_cells(self):
        self.assertEqual(sum(cell.is_core for cell in matrix.CELLS), 13)
        self.assertEqual(len(matrix.BY_NAME), len(matrix.CELLS))

    def test_every_cell_has_a_server_of_weir(self):
        for cell in matrix.CELLS:
            self.assertIn("weir_epoll", harness.load_servers("", cell.kind), cell.name)

    def test_names_that_are_not_known_are_told_with_those_that_are(self):
        rows = [(["--cells", "echo_65"], "no cell 'echo_65'.*echo_64_1"),
                (["--servers", "libux"], "no server 'libux'.*libuv"),
                (["--cpu", "4096"], "no processor 4096")]
        for options, message in rows:
            with self.subTest(options=options), self.assertRaisesRegex(harness.MeasureError, message):
                suite.make_plan(suite.parse_run(options))

    def test_the_order_follows_from_the_seed_and_changes_from_round_to_round(self):
        servers = dict.fromkeys(f"s{i}" for i in range(6))

        def order(seed):
            one = runner.Runner.__new__(runner.Runner)
            one.plan = {**PLAN, "seed": seed, "counts": False}
            steps = list(one.steps(matrix.BY_NAME["echo_64_1"], servers))
            return [[name for _, turn, name in steps if turn == i] for i in range(3)]
        self.assertEqual(order(7), order(7))
        self.assertNotEqual(order(7), order(8))
        self.assertNotEqual(order(7)[0], order(7)[1])
        self.assertEqual(sorted(order(7)[2]), sorted(servers))


class Summaries(unittest.TestCase):
    def cell(self, *lines):
        return summary.CellSummary(matrix.BY_NAME["echo_64_1"], record_of(*lines))

    def test_ratios_are_of_samples_of_the_same_round(self):
        cell = self.cell(sample("weir_epoll", 0, 2), sample("weir_epoll", 1, 30), sample("libuv", 1, 10), sample("libuv", 0, 1),
                         sample("libuv", 2, 99))
        self.assertEqual(cell.ratio("weir_epoll", "libuv")["median"], 2.5)
        self.assertEqual(cell.ratio("weir_epoll", "libuv")["pairs"], 2)

    def test_times_of_a_watched_server_do_not_count(self):
        watched = sample("libuv", 0, 3.0, "syscalls", "server_syscalls")
        watched["figures"]["server_cpu_us"] = 99
        cell = self.cell(sample("libuv", 0, 5), watched)
        self.assertEqual(cell.median("libuv"), 5)
        self.assertEqual(cell.median("libuv", "server_syscalls"), 3.0)

    def test_the_raw_loop_is_the_best_on_the_same_interface(self):
        cell = self.cell(sample("raw_epoll", 0, 5), sample("raw_epoll_et", 0, 4), sample("raw_uring_multi", 0, 1),
                         sample("weir_epoll", 0, 4), sample("weir_uring", 0, 2))
        self.assertEqual(cell.opponent("weir_epoll", "raw"), "raw_epoll_et")
        self.assertEqual(cell.opponent("weir_uring", "raw"), "raw_uring_multi")

    def test_verdicts(self):
        rows = [  # ratios of the rounds, bound, verdict
            ([0.95] * 6, 0.97, "held"), ([0.99] * 6, 0.97, "missed"), ([0.95] * 5, 0.97, "undecided"),
            ([0.90, 0.91, 0.92, 0.93, 0.94, 0.96], 0.97, "undecided"),
        ]
        for ratios, bound, verdict in rows:
            with self.subTest(ratios=ratios):
                lines = [sample("libuv", i, 1) for i in range(len(ratios))]
                lines += [sample("weir_epoll", i, ratio) for i, ratio in enumerate(ratios)]
                self.assertEqual(summary.verdict(self.cell(*lines).ratio("weir_epoll", "libuv"), bound), verdict)

    def test_standing_names_the_cells_where_weir_is_behind(self):
        cell = self.cell(sample("libuv", 0, 1), sample("weir_epoll", 0, 1.2))
        self.assertEqual(summary.standing_text([cell], "weir_epoll", "libuv"), "weir on epoll against libuv: ahead in 0 of 1 cells, "
                         "equal in 0, behind in 1 (echo 64 B, 1)")


class TinyRun(unittest.TestCase):
    """The real thing, too short to say anything."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name, "tiny")

    def perf(self, *arguments):
        affinity = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, affinity)
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = suite.main([*arguments])
        return status, out.getvalue() + error.getvalue()

    def start(self, *more):
        return self.perf("--build", str(BUILD), "--out", str(self.base), "--cells", "echo_64_1", "--servers",
                         "weir_epoll,libev", "--rounds", "1", "--duration-ms", "5", "--counts", "no", *more)

    def test_writes_lines_document_and_page_and_can_go_on(self):
        status, text = self.start()
        self.assertEqual(status, 0, text)
        lines = self.base.with_suffix(".jsonl").read_text().splitlines(keepends=True)
        self.assertIn("heat-map", self.base.with_suffix(".html").read_text())
        measured = [json.loads(line) for line in lines if '"figures"' in line]
        self.assertIn("weir_epoll", {line["server"] for line in measured})
        self.base.with_suffix(".jsonl").write_text(lines[0])  # as if it had been killed at once
        status, text = self.perf("--build", str(BUILD), "--resume", str(self.base.with_suffix(".jsonl")))
        self.assertEqual(status, 0, text)
        again = [json.loads(line) for line in self.base.with_suffix(".jsonl").read_text().splitlines() if '"figures"' in line]
        self.assertEqual([line["server"] for line in again], [line["server"] for line in measured])

    def test_does_not_go_on_on_another_machine_and_keeps_the_file(self):
        record = records.Record.create(self.base.with_suffix(".jsonl"), PLAN, MACHINE)
        record.add(sample("libuv", 0, 1.5))
        before = self.base.with_suffix(".jsonl").read_text()
        status, text = self.perf("--build", str(BUILD), "--resume", str(self.base.with_suffix(".jsonl")))
        self.assertEqual(status, 2)
        self.assertIn("was measured with commit abc", text)
        self.assertEqual(self.base.with_suffix(".jsonl").read_text(), before)

    def test_unknown_commands_and_cells(self):
        for arguments, message in ((["fly"], "no command 'fly'"), (["--cells", "x"], "no cell 'x'"), (["report"], "usage")):
            status, text = self.perf(*arguments)
            self.assertEqual(status, 2)
            self.assertIn(message, text)


if __name__ == "__main__":
    unittest.main()
