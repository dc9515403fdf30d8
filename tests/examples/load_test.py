"""What load tells: latency as a user would feel it, figures that agree with each other, a line that follows the run."""

import re
import subprocess
import threading
import unittest

import support

LOAD = support.BUILD / "perf/suite/load/load"


class StallingEcho(threading.Thread):
    """Answers one connection at once, but rests for a while before its hundredth answer."""
    STALL_SECONDS = 0.5

    def __init__(self):
        super().__init__()
        self.listener, self.address = support.listen()
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        self.listener.close()
        count, rest = 0, threading.Event()
        with connection:
            while data := connection.recv(1 << 16):
                count += 1
                if count == 100:
                    rest.wait(self.STALL_SECONDS)
                connection.sendall(data)


class Load(unittest.TestCase):
    def run_on_echo(self, *options, json=True):
        service = support.start(self, "echo", backend="epoll")
        if json:
            return support.run_load(self, service, *options)
        done = subprocess.run([str(LOAD), "--connect", service.address, *map(str, options)], capture_output=True, text=True,
                              timeout=support.WAIT_SECONDS)
        self.assertEqual(done.returncode, 0, done)
        return done

    def test_open_loop_counts_latency_from_when_a_request_was_due(self):
        """While the server rests, requests that are due wait; those of a closed loop just are not sent, and look fast."""
        rate, seconds = 400, 1.5
        server = StallingEcho()
        result = support.finish_load(self, support.load(
            "--connect", server.address, "--connections", 1, "--rate", rate, "--duration", seconds))
        server.join()
        self.assertGreaterEqual(result["seconds"], seconds)
        self.assertAlmostEqual(result["requests"] + result["late"], rate * result["seconds"], delta=2)
        stall_us = StallingEcho.STALL_SECONDS * 1e6
        self.assertGreater(result["latency_us"]["max"], 0.9 * stall_us)
        # A third of all were due while it rested; for a half of those it went on for another half of the time.
        self.assertGreater(result["latency_us"]["p90"], 0.3 * stall_us)

    def test_closed_loop_sends_the_next_request_behind_each_answer(self):
        server = StallingEcho()
        result = support.finish_load(self, support.load("--connect", server.address, "--connections", 1, "--requests", 3000))
        server.join()
        self.assertEqual((result["requests"], result["requests_total"], result["late"]), (3000, 3000, 0))
        self.assertGreater(result["latency_us"]["max"], 0.9e6 * StallingEcho.STALL_SECONDS)
        self.assertLess(result["latency_us"]["p99"], 0.5e6 * StallingEcho.STALL_SECONDS)  # one of them saw it

    def test_figures_agree(self):
        result = self.run_on_echo("--connections", 5, "--warmup", 0.1, "--duration", 0.4, "--size", 100)
        self.assertEqual((result["connections"], result["connected"], result["size"]), (5, 5, 100))
        self.assertLess(result["requests"], result["requests_total"])  # the warm-up does not count
        self.assertAlmostEqual(result["requests"] / result["seconds"], result["requests_per_s"], delta=1)
        latencies = [result["latency_us"][name] for name in ("min", "p50", "p90", "p99", "p99_9", "p99_99", "max")]
        self.assertEqual(latencies, sorted(latencies))
        self.assertLessEqual(result["least_answers"], result["requests_total"] / 5)
        self.assertGreaterEqual(result["most_answers"], result["requests_total"] / 5 - 1)  # one may be on its way when it looks

    def test_table_for_people(self):
        text = self.run_on_echo("--requests", 200, json=False).stdout
        self.assertRegex(text, r"^echo at 127\.0\.0\.1:\d+ with \S+: 32 connections x 1 x 64 bytes, closed loop\n")
        for line in (r"requests +200 ", r"requests/s +\d+ ", r"latency us +[\d.]+ ", r"p50 +[\d.]+\n", r"p99 +[\d.]+\n",
                     r"faults +0\n"):
            self.assertRegex(text, line)

    def test_progress_line(self):
        done = self.run_on_echo("--duration", 1.2, "--progress", json=False)
        # Python makes a new line of each return to the line's start.
        seen = re.findall(r"\n *([\d.]+) s +32 connections +(\d+) requests/s +0 faults", done.stderr)
        self.assertGreaterEqual(len(seen), 1, done.stderr)
        self.assertGreater(int(seen[-1][1]), 0)

    def test_help(self):
        done = subprocess.run([str(LOAD), "--help"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("--connect", "--protocol", "--connections", "--pipeline", "--size", "--duration", "--rate", "--json"):
            self.assertIn(option, done.stdout)


if __name__ == "__main__":
    support.main()
