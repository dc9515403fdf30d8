"""What all examples have in common: the first line, the end, wrong options, and bytes that come through exactly."""

import re
import subprocess
import unittest

import support
from support import BUILD, WAIT_SECONDS

PROGRAMS = {  # arguments beside those that all have
    "echo": ["echo"],
    "echo_handler": ["echo", "--style", "handler"],
    "fanout": ["fanout"],
    "http_hello": ["http_hello"],
    "tcp_proxy": ["tcp_proxy", "--upstream", "127.0.0.1:9"],
}


def is_built(program):
    return (BUILD / "examples" / program).exists()


def built_programs():
    return [(name, command) for name, command in PROGRAMS.items() if is_built(command[0])]


@support.on_backends()
class Life(unittest.TestCase):
    def check_says_where_it_listens_and_ends_on_sigterm(self, backend):
        for name, command in built_programs():
            with self.subTest(name):
                service = support.start(self, *command, backend=backend)
                self.assertEqual(service.first_line, f"listening 127.0.0.1:{service.port} backend={backend}")
                self.assertGreater(service.port, 0)
                counters = service.finish(self)
                self.assertEqual(counters["accepted"], 0)
                self.assertGreater(counters["system_calls"], 0)
                self.assertEqual(service.errors, "")
                with self.assertRaises(OSError):
                    service.connect(timeout=1)

    def check_idle_connections_see_their_end(self, backend):
        for name, command in built_programs():
            with self.subTest(name):
                listener, upstream = support.listen()
                self.addCleanup(listener.close)
                command = [*command[:2], upstream] if name == "tcp_proxy" else command
                service = support.start(self, *command, backend=backend)
                before = service.descriptor_count()
                idle = [service.connect() for _ in range(20)]
                far = [listener.accept()[0] for _ in idle] if name == "tcp_proxy" else []
                support.wait_until(lambda: service.descriptor_count() >= before + 20, "20 accepted connections")
                service.terminate()
                for connection in far + idle:
                    self.assertEqual(connection.recv(1), b"")
                    connection.close()
                counters = service.finish(self)
                self.assertEqual((counters["accepted"], counters["connections"]), (20, 0))

    def check_one_line_without_stats(self, backend):
        service = support.start(self, "echo", backend=backend, stats=False)
        support.run_load(self, service, "--requests", 100)
        service.terminate()
        out, error = service.process.communicate(timeout=WAIT_SECONDS)
        self.assertRegex(out, r"\Aconnections 32 received 6400 sent 6400 system_calls \d+ copied 0 allocations \d+\n\Z")
        self.assertEqual((service.process.returncode, error), (0, ""))


@support.on_backends()
class Drain(unittest.TestCase):
    def check_queued_bytes_still_leave(self, backend):
        """A client that does not read at first gets all of what the server had taken from it, after SIGTERM too."""
        for style in ("task", "handler"):
            with self.subTest(style):
                service = support.start(self, "echo", "--style", style, backend=backend)
                connection = service.connect()
                sent = send_until_it_stalls(connection)
                service.terminate()
                connection.shutdown(1)
                data = support.receive_all(connection)
                self.assertEqual(data, sent)
                counters = service.finish(self)
                self.assertEqual(counters["bytes_sent"], len(sent))

    def check_second_signal_ends_the_drain(self, backend):
        service = support.start(self, "echo", backend=backend)
        connection = service.connect()
        send_until_it_stalls(connection)
        service.terminate()
        support.wait_until(lambda: is_refused(service), "the listening socket is closed")
        service.terminate()
        counters = service.finish(self, timeout=5)  # below the drain's ten seconds
        self.assertEqual(counters["connections"], 0)
        connection.close()


def is_refused(service):
    try:
        service.connect(timeout=1).close()
        return False
    except OSError:
        return True


def send_until_it_stalls(connection):
    """Sends without reading until nothing more is taken for a while; what was sent."""
    connection.settimeout(0.3)
    sent = bytearray()
    try:
        while True:
            block = bytes((len(sent) // 4096 + i) % 251 for i in range(4096)) * 16
            sent += block[:connection.send(block)]
    except TimeoutError:
        pass
    connection.settimeout(WAIT_SECONDS)
    return bytes(sent)


class BadInput(unittest.TestCase):
    ROWS = [  # program, arguments, what the message must name
        ("echo", ["--listen", "nowhere"], ["--listen", '"nowhere"', "ADDR:PORT"]),
        ("echo", ["--listen", "127.0.0.1"], ['"127.0.0.1"', "ADDR:PORT"]),
        ("echo", ["--listen", "127.0.0.1:65536"], ['"127.0.0.1:65536"']),
        ("echo", ["--listen"], ["--listen", "a value"]),
        ("echo", ["--loops", "257"], ["--loops", '"257"', "0 to 256"]),
        ("echo", ["--loops", "-1"], ['"-1"', "0 to 256"]),
        ("echo", ["--loops", "two"], ['"two"', "0 to 256"]),
        ("echo", ["--loops", ""], ['""', "0 to 256"]),
        ("echo", ["--backend", "kqueue"], ['"kqueue"', "epoll", "io_uring"]),
        ("echo", ["--backend", "io_uring:2.6"], ['"2.6"', "io_uring:5.10"]),
        ("echo", ["--style", "fast"], ["--style", '"fast"', "task or handler"]),
        ("echo", ["--upstream", "127.0.0.1:1"], ['"--upstream"']),
        ("echo", ["-v"], ['"-v"']),
        ("tcp_proxy", [], ["--upstream", "ADDR:PORT"]),
        ("tcp_proxy", ["--upstream", "localhost:80"], ["--upstream", '"localhost:80"']),
        ("http_hello", ["--timeout", "0"], ["--timeout", '"0"', "1 to"]),
    ]
    LOAD_ROWS = [
        ([], ["--connect"]),
        (["--connect", "x"], ['"x"', "ADDR:PORT"]),
        (["--connect", "127.0.0.1:1", "--size", "0"], ["--size", '"0"']),
        (["--connect", "127.0.0.1:1", "--connections", "0"], ["--connections", '"0"', "1 to"]),
        (["--connect", "127.0.0.1:1", "--protocol", "ftp"], ['"ftp"', "echo or http"]),
        (["--connect", "127.0.0.1:1", "--duration", "-1"], ['"-1"', "seconds"]),
        (["--connect", "127.0.0.1:1", "--path", "/x"], ["--path", "http"]),
        (["--connect", "127.0.0.1:1", "--requests", "5", "--warmup", "1"], ["--warmup"]),
        (["--connect", "127.0.0.1:1", "--backend", "kqueue"], ['"kqueue"', "epoll"]),
    ]

    def refused(self, program, arguments, named):
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual(done.returncode, 2, done)
        self.assertEqual(done.stdout, "")
        for word in named:
            self.assertIn(word, done.stderr)

    def test_names_the_value_and_what_was_expected(self):
        for program, arguments, named in self.ROWS:
            if is_built(program):
                with self.subTest(program=program, arguments=arguments):
                    self.refused(BUILD / "examples" / program, arguments, named)

    def test_load_does_too(self):
        for arguments, named in self.LOAD_ROWS:
            with self.subTest(arguments=arguments):
                self.refused(BUILD / "perf/suite/load/load", arguments, named)

    def test_help_is_no_error(self):
        for program in {command[0] for _, command in built_programs()}:
            with self.subTest(program):
                done = subprocess.run([BUILD / "examples" / program, "--help"], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for option in ("--listen", "--backend", "--loops", "--stats", "--help"):
                    self.assertIn(option, done.stdout)


@support.on_backends()
class PortInUse(unittest.TestCase):
    def check_is_an_error_that_names_the_address(self, backend):
        listener, address = support.listen()
        for loops in ("1", "2"):
            with self.subTest(loops=loops):
                done = subprocess.run([BUILD / "examples/echo", "--listen", address, "--backend", backend, "--loops", loops],
                                      capture_output=True, text=True, timeout=WAIT_SECONDS)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(address, done.stderr)
                self.assertIn("in use", done.stderr)
        listener.close()


SHAPES = [  # connections, pipeline, size, requests
    (1, 1, 1, 300),
    (64, 1, 64, 3000),
    (7, 16, 1023, 1500),
    (7, 16, 1025, 1500),
    (5, 3, 16384, 500),
    (3, 2, 300_001, 40),
]


@support.on_backends()
class ExactBytes(unittest.TestCase):
    def through(self, service, *, http=False):
        total = 0
        for connections, pipeline, size, requests in SHAPES:
            with self.subTest(connections=connections, pipeline=pipeline, size=size):
                extra = ["--protocol", "http"] if http else []
                result = support.run_load(self, service, "--connections", connections, "--pipeline", pipeline, "--size", size,
                                          "--requests", requests, *extra)
                self.assertEqual(result["requests"], requests)
                total += requests * size
        return total

    def check_echo(self, backend):
        service = support.start(self, "echo", backend=backend)
        total = self.through(service)
        counters = service.finish(self)
        self.assertEqual((counters["bytes_received"], counters["bytes_sent"]), (total, total))

    def check_echo_with_handlers(self, backend):
        service = support.start(self, "echo", "--style", "handler", backend=backend)
        total = self.through(service)
        self.assertEqual(service.finish(self)["bytes_sent"], total)

    def check_echo_with_two_loops(self, backend):
        service = support.start(self, "echo", "--loops", "2", backend=backend)
        total = self.through(service)
        self.assertEqual(service.finish(self)["bytes_sent"], total)

    def check_tcp_proxy(self, backend):
        echo = support.start(self, "echo")
        proxy = support.start_proxy(self, echo.address, backend=backend)
        total = self.through(proxy)
        self.assertEqual(proxy.finish(self)["bytes_sent"], 2 * total)
        echo.finish(self)

    def check_http_hello(self, backend):
        if not is_built("http_hello"):
            self.skipTest("http_hello: built without llhttp")
        service = support.start(self, "http_hello", backend=backend)
        self.through(service, http=True)
        for pipeline in (1, 16):
            support.run_load(self, service, "--protocol", "http", "--requests", 2000, "--pipeline", pipeline)
        service.finish(self)

    def check_load_with_this_backend(self, backend):
        service = support.start(self, "echo", backend="epoll")
        for connections, pipeline, size, requests in SHAPES:
            support.run_load(self, service, "--connections", connections, "--pipeline", pipeline, "--size", size,
                             "--requests", requests, "--backend", backend)
        service.finish(self)


if __name__ == "__main__":
    support.main()
