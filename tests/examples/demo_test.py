"""The demo itself, in short."""

import pathlib
import re
import subprocess
import sys
import unittest

import support
from support import BUILD

DEMO = pathlib.Path(__file__).resolve().parents[2] / "perf/suite/demo.py"


class Demo(unittest.TestCase):
    def run_demo(self, *arguments):
        return subprocess.run([sys.executable, DEMO, "--build", BUILD, *arguments], capture_output=True, text=True, timeout=120)

    def test_has_a_row_for_each_service_on_each_backend(self):
        done = self.run_demo("--seconds", "0.2")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for service in ("echo", "http_hello", "tcp_proxy"):
            if not (BUILD / "examples" / service).exists():
                continue
            for backend in ("epoll", "io_uring", "io_uring:5.10"):
                row = re.search(rf"^{service} +{backend} +(\S.*)$", done.stdout, re.MULTILINE)
                self.assertIsNotNone(row, done.stdout)
                if support.reason_against(backend):
                    self.assertIn("not on this machine", row[1])
                else:
                    figures = [float(word.replace(",", "")) for word in row[1].split()]
                    self.assertEqual(len(figures), 9)
                    self.assertGreater(figures[0], 0)
                    self.assertEqual(figures[-1], 0)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[-4], "Try next:")
        self.assertTrue(all(line.startswith("  ") for line in lines[-3:]), lines[-3:])

    def test_unknown_service(self):
        done = self.run_demo("gopher")
        self.assertEqual(done.returncode, 2)
        self.assertIn("gopher", done.stderr)
        self.assertIn("tcp_proxy", done.stderr)


if __name__ == "__main__":
    support.main()
