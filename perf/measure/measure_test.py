"""Tests of the measuring tools: what they say about samples, and that the client notices every
wrong byte. Nothing here looks at times. PERF_CLIENT names the client's program."""

import json
import os
import socket
import subprocess
import sys
import threading
import unittest

import harness
import stats


class Stats(unittest.TestCase):
    def test_interval_of_the_median(self):
        rows = [  # count, the order statistics that make a 95 % interval
            (5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15)), (25, (8, 18)),
        ]
        for count, expected in rows:
            with self.subTest(count=count):
                values = list(range(count, 0, -1))
                self.assertEqual(stats.median_interval(values), expected)

    def test_ratio_pairs_samples_of_the_same_round(self):
        ratio = stats.paired_ratio([2, 40, 600], [1, 10, 100])
        self.assertEqual(ratio, {"median": 4, "interval": None, "least": 2, "greatest": 6, "pairs": 3})

    def test_differences_under_three_percent_are_equal(self):
        rows = [(0.96, "0.96"), (0.975, "equal"), (1.0, "equal"), (1.029, "equal"), (1.031, "1.03")]
        for median, expected in rows:
            with self.subTest(median=median):
                self.assertEqual(stats.format_ratio({"median": median, "interval": None}), expected)
        ratio = {"median": 1.5, "interval": (1.444, 1.556)}
        self.assertEqual(stats.format_ratio(ratio), "1.50 [1.44, 1.56]")


class EchoServer:
    """Answers through `answer(position in the stream, data)`; None closes the connection."""

    def __init__(self, answer=lambda position, data: data):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self.received_bytes = 0
        self._lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)  # close() alone leaves it listening while accept() waits
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        position = 0
        with connection:
            try:
                while data := connection.recv(65536):
                    with self._lock:
                        self.received_bytes += len(data)
                    answer = self._answer(position, data)
                    if answer is None:
                        return
                    connection.sendall(answer)
                    position += len(data)
            except ConnectionError:
                pass  # the client resets when it is done


def run_client(mode, server, *options):
    return subprocess.run([os.environ["PERF_CLIENT"], mode, "--connect", server.address, *options],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)


def flip_byte(at):
    def answer(position, data):
        if position <= at < position + len(data):
            changed = bytearray(data)
            changed[at - position] ^= 1
            return bytes(changed)
        return data
    return answer


class Client(unittest.TestCase):
    def test_sends_exactly_the_requests_asked_for(self):
        rows = [  # mode, connections, size, pipeline
            ("echo", 1, 64, 1), ("echo", 7, 5000, 3), ("echo", 50, 1, 1), ("echo", 2, 300_000, 1),
            ("churn", 3, 64, 1), ("echo --lockstep", 5, 64, 2),
        ]
        for mode, connections, size, pipeline in rows:
            with self.subTest(mode=mode, connections=connections, size=size, pipeline=pipeline):
                with EchoServer() as server:
                    mode, *options = mode.split()
                    done = run_client(mode, server, *options, "--connections", str(connections),
                                      "--size", str(size), "--pipeline", str(pipeline),
                                      "--warmup", "10", "--requests", "40")
                    self.assertEqual(done.stderr, "")
                    self.assertEqual(json.loads(done.stdout)["requests"], 40)
                    self.assertEqual(server.received_bytes, 50 * size)

    def test_notices_a_wrong_byte(self):
        for at in (0, 1000, 6399):
            with self.subTest(at=at), EchoServer(flip_byte(at)) as server:
                done = run_client("echo", server, "--requests", "100")
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"byte {at} of the stream is wrong", done.stderr)

    def test_notices_bytes_lost_doubled_or_withheld(self):
        rows = [
            ("Lost", lambda position, data: data[1:] if position else data, "is wrong"),
            ("Doubled", lambda position, data: data + data[-1:], "more came back|is wrong"),
            ("Closed", lambda position, data: None, "the server closed it"),
        ]
        for name, answer, message in rows:
            with self.subTest(name), EchoServer(answer) as server:
                done = run_client("echo", server, "--requests", "100")
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, message)

    def test_idle_connections_stay_until_input_ends(self):
        with EchoServer() as server:
            done = run_client("idle", server, "--connections", "20")
            self.assertEqual(json.loads(done.stdout)["connections"], 20)
            self.assertEqual(server.received_bytes, 20 * 64)

    def test_refuses_what_it_does_not_understand(self):
        rows = [("--size", "0"), ("--size", "x"), ("--connections",), ("--colour", "red")]
        for options in rows:
            with self.subTest(options=options), EchoServer() as server:
                done = run_client("echo", server, *options)
                self.assertEqual(done.returncode, 2)
                self.assertIn("not understood", done.stderr)


class Servers(unittest.TestCase):
    PLACE = harness.Place(max(os.sched_getaffinity(0)))

    def start(self, code):
        return harness.Server("test", f"{sys.executable} -c \"{code}\"", self.PLACE)

    def test_reads_the_address_from_the_first_line(self):
        server = self.start("print('listening 127.0.0.1:4242 backend=x', flush=True); input()")
        self.addCleanup(server.kill)
        self.assertEqual(server.address, "127.0.0.1:4242")

    def test_says_why_a_server_did_not_start(self):
        rows = [("print('hello')", "not 'hello'"),
                ("import sys; sys.exit('no such backend')", "no such backend"),
                ("import sys; {port}; sys.exit('in use')", "ended at once: in use")]
        for code, message in rows:
            with self.subTest(code=code), self.assertRaisesRegex(harness.MeasureError, message):
                self.start(code)

    def test_every_command_of_the_table_is_in_the_build_folder(self):
        for name, command in harness.load_servers("/somewhere").items():
            self.assertTrue(command.startswith("/somewhere/"), name)
            self.assertEqual(harness.why_missing(command).split()[-3:], ["is", "not", "built"])


if __name__ == "__main__":
    unittest.main()
