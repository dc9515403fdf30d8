"""fanout from outside: every line to everybody, in order and whole; who reads slowly holds up nobody and costs a bounded
amount of memory; wrong roles and endless lines."""

import socket
import subprocess
import threading
import unittest

import support
from support import BUILD, WAIT_SECONDS

SUBSCRIBERS = 200
LINES_KIB = 64  # what is published in a batch to a subscriber that does not read, again and again
GROWTH_KIB_MAX = 8 << 10


def join(service, role, **options):
    connection = service.connect(**options)
    connection.sendall(role + b"\n")
    reply = support.receive_exactly(connection, 3)
    if reply != b"OK\n":
        raise AssertionError(f"{role} was answered with {reply}")
    return connection


def numbered_lines(first, count, size=256):
    return b"".join(str(i).encode().rjust(size - 1, b".") + b"\n" for i in range(first, first + count))


def numbers(data):
    """Of the whole lines in it; the test fails at a torn one."""
    return [int(line.strip(b".")) for line in data.split(b"\n")[:-1]]


def slow_subscriber(service):
    """One whose kernel buffers fill soon, and who does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(WAIT_SECONDS)
    connection.connect((service.host, service.port))
    connection.sendall(b"SUB\n")
    support.receive_exactly(connection, 3)
    return connection


@support.on_backends()
class FanOut(unittest.TestCase):
    def begin(self, backend, *options):
        return support.start(self, "fanout", *options, backend=backend)

    def check_every_line_reaches_everybody_and_is_copied_for_none_of_them(self, backend):
        service = self.begin(backend)
        subscribers = [join(service, b"SUB") for _ in range(SUBSCRIBERS)]
        publisher = join(service, b"PUB")
        lines = numbered_lines(0, 40, 2000)
        for start in range(0, len(lines), 3333):  # cut anywhere
            publisher.sendall(lines[start:start + 3333])
        for subscriber in subscribers:
            self.assertEqual(support.receive_exactly(subscriber, len(lines)), lines)
            subscriber.close()
        publisher.close()
        counters = service.finish(self)
        self.assertEqual(counters["bytes_sent"], SUBSCRIBERS * len(lines) + 3 * (SUBSCRIBERS + 1))
        # Beside what came in small pieces: the roles' lines, and the answers to them.
        self.assertLessEqual(counters["bytes_copied"], 7 * (SUBSCRIBERS + 1) + len(lines))
        self.assertEqual((counters["lines_skipped"], counters["subscribers_dropped"]), (0, 0))

    def check_two_publishers_and_two_loops(self, backend):
        service = self.begin(backend, "--loops", "2")
        subscribers = [join(service, b"SUB") for _ in range(40)]
        publishers = [join(service, b"PUB") for _ in range(6)]
        for i, publisher in enumerate(publishers):
            publisher.sendall(numbered_lines(1000 * i, 50))
        for subscriber in subscribers:
            got = numbers(support.receive_exactly(subscriber, 6 * 50 * 256))
            for i in range(6):  # the order of one publisher holds
                self.assertEqual([n for n in got if n // 1000 == i], list(range(1000 * i, 1000 * i + 50)))
            subscriber.close()
        service.finish(self)

    def publish_beside(self, service, slow, batches=100):
        """One polite subscriber gets all lines of many batches, while `slow` does not read. Returns the growth in KiB."""
        polite, publisher = join(service, b"SUB"), join(service, b"PUB")
        lines_a_batch = LINES_KIB * 1024 // 256
        grown_from = 0
        for i in range(batches):
            batch = numbered_lines(i * lines_a_batch, lines_a_batch)
            sender = threading.Thread(target=publisher.sendall, args=(batch,))
            sender.start()
            self.assertEqual(support.receive_exactly(polite, len(batch)), batch)
            sender.join()
            if i == 3:
                grown_from = service.resident_kib()
        publisher.close()
        polite.close()
        return service.resident_kib() - grown_from

    def check_a_slow_subscriber_misses_lines_and_holds_up_nobody(self, backend):
        service = self.begin(backend)
        slow = slow_subscriber(service)
        grown_kib = self.publish_beside(service, slow)
        if support.MEMORY_COUNTS:
            self.assertLess(grown_kib, GROWTH_KIB_MAX)
        service.terminate()
        got = numbers(support.receive_all(slow))
        self.assertLess(len(got), 25000)
        self.assertEqual(got, sorted(set(got)))  # whole lines, in order, with gaps
        counters = service.finish(self)
        self.assertEqual(len(got) + counters["lines_skipped"], 25600)
        self.assertEqual(counters["subscribers_dropped"], 0)

    def check_a_slow_subscriber_is_dropped_if_so_asked(self, backend):
        service = self.begin(backend, "--slow", "drop")
        slow = slow_subscriber(service)
        self.publish_beside(service, slow)
        with self.assertRaises(ConnectionResetError):
            support.receive_all(slow)
        counters = service.finish(self)
        self.assertEqual((counters["lines_skipped"], counters["subscribers_dropped"]), (0, 1))

    def check_what_is_no_role_or_no_line(self, backend):
        service = self.begin(backend)
        stranger = service.connect()
        stranger.sendall(b"HELO\n")
        self.assertEqual(support.receive_all(stranger), b"PUB or SUB\n")
        endless = join(service, b"PUB")
        try:
            endless.sendall(bytes(1 << 20))
            self.assertEqual(endless.recv(1), b"")
        except ConnectionError:
            pass  # a reset is as good an end
        self.assertIn("message too long", self.finish_with_errors(service))

    def finish_with_errors(self, service):
        service.finish(self)
        return service.errors


class Options(unittest.TestCase):
    def test_unknown_policy(self):
        done = subprocess.run([BUILD / "examples/fanout", "--slow", "maybe"], capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual(done.returncode, 2)
        self.assertIn('--slow: got "maybe", expected skip or drop', done.stderr)


if __name__ == "__main__":
    support.main()
