"""What the services count of themselves against what others count of them: strace, an operator new and a memcpy of ours."""

import os
import re
import struct
import subprocess
import tempfile
import unittest

import support

FEW, MANY = 200, 4200
CONNECTIONS = 16
ROUNDS_MAX = 10
NEVER = (1 << 62, 1 << 62)


class Strace:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(suffix=".strace")
        self.wrap = ["strace", "-f", "-c", "-o", self.file.name]

    def total(self):
        """The line `100.00 0.05 12 4321 17 total`; the errors may be missing."""
        words = re.search(r"^100\.00.* total$", self.file.read().decode(), re.MULTILINE)[0].split()
        return int(words[3])


def why_no_strace():
    try:
        done = subprocess.run(["strace", "-c", "true"], capture_output=True, text=True)
        return "" if done.returncode == 0 else f"strace: {done.stderr.strip()}"
    except OSError as error:
        return f"strace: {error}"


@support.on_backends()
class SystemCalls(unittest.TestCase):
    @unittest.skipIf(why_no_strace(), why_no_strace())
    def check_are_those_that_strace_sees(self, backend):
        """Start and end of the process are in strace's count only, and the same in two runs that differ in their requests."""
        for style in ("task", "handler"):
            for connections in (1, 32):
                with self.subTest(style=style, connections=connections):
                    beside = []
                    for requests in (FEW, MANY // 2):
                        strace = Strace()
                        service = support.start(self, "echo", "--style", style, backend=backend, wrap=strace.wrap)
                        support.run_load(self, service, "--connections", connections, "--requests", requests)
                        counters = service.finish(self)
                        self.assertGreater(counters["system_calls"], requests / 100)
                        beside.append(strace.total() - counters["system_calls"])
                    self.assertLess(abs(beside[1] - beside[0]), 10, beside)


class CountedCalls:
    """Counts from inside another process, of everything since it was started; see count_calls.cc."""
    NAMES = ("allocations", "long_copies", "long_copy_bytes")

    def __init__(self, **more):
        self.file = tempfile.NamedTemporaryFile(suffix=".counts")
        self.env = {"LD_PRELOAD": os.environ["COUNT_CALLS"], "COUNT_CALLS_TO": self.file.name, **more}

    def now(self):
        self.file.seek(0)
        return dict(zip(self.NAMES, struct.unpack("3Q", self.file.read())))


WORK = {  # name: program and its arguments, load's arguments and its pipeline
    "echo": (["echo"], ["--size", 16384], 2),
    "echo_small": (["echo"], ["--size", 64], 4),
    "echo_handler": (["echo", "--style", "handler"], ["--size", 16384], 2),
    "tcp_proxy": (["tcp_proxy"], ["--size", 16384], 2),
    "http_get": (["http_hello"], ["--protocol", "http"], 4),
    "http_post": (["http_hello"], ["--protocol", "http", "--size", 16384], 2),
}


@support.on_backends()
class Memory(unittest.TestCase):
    def start(self, backend, command):
        calls = CountedCalls()
        if command[0] == "tcp_proxy":
            command = [*command, "--upstream", support.start(self, "echo").address]
        return support.start(self, *command, backend=backend, env=calls.env), calls

    def load(self, service, work, connections, pipeline, requests):
        support.run_load(self, service, "--connections", connections, "--pipeline", pipeline, "--requests", requests, *work)

    def check_nothing_is_allocated_or_copied_per_request(self, backend):
        """Runs with as many connections, and more requests in every other one. Lists of free records grow until they hold
        as many as were ever in use together, so the first runs may still see them grow."""
        for name, (command, work, pipeline) in WORK.items():
            if not (support.BUILD / "examples" / command[0]).exists():
                continue
            with self.subTest(name):
                service, calls = self.start(backend, command)
                self.load(service, work, 4 * CONNECTIONS, 2 * pipeline, 2000)
                least = {FEW: NEVER, MANY: NEVER}
                for _ in range(ROUNDS_MAX):
                    for requests in (FEW, MANY):
                        before = calls.now()
                        self.load(service, work, CONNECTIONS, pipeline, requests)
                        seen = tuple(calls.now()[name] - before[name] for name in ("allocations", "long_copies"))
                        least[requests] = min(least[requests], seen)
                    if least[MANY] <= least[FEW]:
                        break
                counters = service.finish(self)
                self.assertLessEqual(least[MANY], least[FEW])
                self.assertEqual(least[MANY][1], 0)
                # Slices below 1 KiB may be copied when they wait and would pin much more: the head of each request, over HTTP.
                self.assertLessEqual(counters["bytes_copied"], counters["copy_breaks"] * 1023)
                if command[0] != "http_hello":
                    self.assertLess(counters["bytes_copied"], counters["bytes_received"] / 1000)

    def check_weir_counts_each_of_its_allocations(self, backend):
        """Many connections at once need slabs and tables. Both counts see them come, and differ by what the program needed
        before it had a loop, however many connections there are."""
        weir, seen = [], []
        for connections in (1, 2000):
            service, calls = self.start(backend, ["echo"])
            self.load(service, [], connections, 1, 2 * connections)
            seen.append(calls.now()["allocations"])
            weir.append(service.finish(self)["heap_allocations"])
        self.assertGreater(seen[1] - seen[0], 50)
        self.assertEqual(weir[1] - weir[0], seen[1] - seen[0])


class Counter(unittest.TestCase):
    def test_sees_what_is_there(self):
        """A counter that sees nothing would let everything pass."""
        calls = CountedCalls()
        subprocess.run([os.environ["COUNT_CALLS_CONTROL"]], check=True, env=calls.env)
        self.assertEqual(calls.now(), {"allocations": 7, "long_copies": 5, "long_copy_bytes": 5 * 1024})

    def test_sees_each_copy_that_weir_counts(self):
        calls = CountedCalls(COUNT_CALLS_FROM="500")
        done = subprocess.run([os.environ["COUNT_COPIES"]], check=True, env=calls.env, capture_output=True, text=True)
        self.assertEqual(int(done.stdout), calls.now()["long_copy_bytes"])
        self.assertEqual(calls.now()["long_copies"], 4)


if __name__ == "__main__":
    support.main()
