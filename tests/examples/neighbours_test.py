"""Bad neighbours: whoever shares a loop with them must not starve, and the service's memory stays under its marks."""

import selectors
import socket
import threading
import unittest

import support

POLITE = 200
SLOW_READERS = 200
SLOW_READERS_BEHIND_A_PROXY = 50  # each fills four sockets of the kernel's; more of them would fill all that it has for TCP
P99_US_MAX = 500_000  # two processors run all of this and more; who starves waits for as long as the neighbour is there

# The receive memory of a loop before it is short (Limits::group_bytes); what each may then still take: two blocks of
# 16 KiB, one that is on its way, and its share of one turn (bytes_per_socket_turn); and what does not depend on them.
GROUP_KIB, SLOW_READER_KIB, BASE_KIB = 16 << 10, 3 * 16 + 128, 4 << 10


class SlowReaders(threading.Thread):
    """Clients that send whatever is taken, and never read."""

    def __init__(self, service, count):
        super().__init__()
        self.selector = selectors.DefaultSelector()
        self.is_stopping = False
        self.sent_bytes = 0
        self.connections = []
        for _ in range(count):
            connection = socket.socket()
            # So that it is the service that must hold.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            connection.connect((service.host, service.port))
            connection.setblocking(False)
            self.selector.register(connection, selectors.EVENT_WRITE)
            self.connections.append(connection)

    def run(self):
        block = bytes(1 << 14)
        while not self.is_stopping:
            for key, _ in self.selector.select(timeout=0.05):
                try:
                    self.sent_bytes += key.fileobj.send(block)
                except BlockingIOError:
                    pass

    def stop(self):
        self.is_stopping = True
        self.join()
        for connection in self.connections:
            support.reset(connection)


class Stillness:
    """Whether hardly a byte more was sent in each of twenty looks."""

    def __init__(self, slow):
        self.slow, self.last, self.looks = slow, 0, 0

    def __call__(self):
        now = self.slow.sent_bytes
        self.looks = self.looks + 1 if now - self.last < 64 << 10 else 0
        self.last = now
        return self.looks >= 20


@support.on_backends()
class Neighbours(unittest.TestCase):
    def load_politely(self, service, *options):
        return support.run_load(self, service, "--connections", POLITE, "--size", 64, "--timeout", support.WAIT_SECONDS, *options)

    def load_politely_and_quickly(self, service, seconds):
        result = self.load_politely(service, "--rate", 20 * POLITE, "--duration", seconds)
        self.assertGreater(result["least_answers"], 0.8 * 20 * seconds, result)
        self.assertLess(result["latency_us"]["p99"], P99_US_MAX, result)

    def check_one_that_writes_without_end(self, backend):
        for style in ("task", "handler"):
            with self.subTest(style):
                service = support.start(self, "echo", "--style", style, backend=backend)
                flood = support.load("--connect", service.address, "--connections", 1, "--size", 256 << 10, "--pipeline", 4,
                                     "--duration", 1)
                self.load_politely_and_quickly(service, 0.6)
                resident_kib = service.resident_kib()
                flooded = support.finish_load(self, flood)
                self.assertGreater(flooded["requests"], 20)  # it did not starve either
                self.assertLess(resident_kib, GROUP_KIB + BASE_KIB)
                service.finish(self)

    def check_those_who_never_read(self, backend):
        for style in ("task", "handler"):
            with self.subTest(style):
                self.with_slow_readers(support.start(self, "echo", "--style", style, backend=backend))

    def check_those_who_never_read_behind_a_proxy(self, backend):
        echo = support.start(self, "echo", backend="epoll")
        self.with_slow_readers(support.start_proxy(self, echo.address, backend=backend), SLOW_READERS_BEHIND_A_PROXY)

    def with_slow_readers(self, service, count=SLOW_READERS):
        """First while all they send is carried into the kernel's buffers, hundreds of megabytes, which takes the processors'
        time; then while all of them are stuck, which must take nothing."""
        before_kib = service.resident_kib()
        slow = SlowReaders(service, count)
        slow.start()
        try:
            self.assertGreater(self.load_politely(service, "--requests", 2 * POLITE)["least_answers"], 0)
            support.wait_until(Stillness(slow), "those who never read are stuck")
            self.load_politely_and_quickly(service, 0.3)
            grown_kib = service.resident_kib() - before_kib
        finally:
            slow.stop()
        self.assertGreater(slow.sent_bytes, count * (64 << 10))  # they did press
        self.assertLess(grown_kib, GROUP_KIB + count * SLOW_READER_KIB + BASE_KIB)
        counters = service.finish(self)
        self.assertGreater(counters["read_pauses"], 0)
        self.assertEqual(counters["write_queue_bytes"], 0)


if __name__ == "__main__":
    support.main()
