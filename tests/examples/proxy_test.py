"""tcp_proxy between raw sockets: what one side does, the other must see."""

import array
import fcntl
import hashlib
import random
import socket
import threading
import unittest

import support

BULK_BYTES = 12_000_000  # more than the kernel's buffers on both sides hold
PRESSED_KIB_MAX = 3072  # two streams may hold 1 MiB each of received memory, sent or not, and there is the rest


class Pair:
    """A client's connection, and the one that the proxy made for it."""

    def __init__(self, proxy, listener):
        self.client = proxy.connect()
        self.server, _ = listener.accept()
        self.server.settimeout(support.WAIT_SECONDS)

    def __enter__(self):
        return self.client, self.server

    def __exit__(self, *_):
        self.client.close()
        self.server.close()


@support.on_backends()
class Proxy(unittest.TestCase):
    def begin(self, backend):
        self.listener, upstream = support.listen()
        self.addCleanup(self.listener.close)
        return support.start_proxy(self, upstream, backend=backend)

    def both_ways(self, proxy, check):
        """check(first, second) with a client and its server, and with their roles changed."""
        for name in ("client first", "server first"):
            with self.subTest(name), Pair(proxy, self.listener) as (client, server):
                check(client, server) if name == "client first" else check(server, client)

    def check_half_close(self, backend):
        proxy = self.begin(backend)
        def check(first, second):
            first.sendall(b"question")
            first.shutdown(socket.SHUT_WR)
            self.assertEqual(support.receive_all(second), b"question")
            second.sendall(b"answer")  # long after the end of the other direction
            self.assertEqual(support.receive_exactly(first, 6), b"answer")
            second.sendall(b", and more")
            second.shutdown(socket.SHUT_WR)
            self.assertEqual(support.receive_all(first), b", and more")
        self.both_ways(proxy, check)
        support.wait_until(lambda: proxy.descriptor_count() < 10, "the proxy let go of all connections")
        proxy.finish(self)

    def check_end_without_a_byte(self, backend):
        proxy = self.begin(backend)
        def check(first, second):
            first.shutdown(socket.SHUT_WR)
            self.assertEqual(second.recv(1), b"")
            second.shutdown(socket.SHUT_WR)
            self.assertEqual(first.recv(1), b"")
        self.both_ways(proxy, check)
        proxy.finish(self)

    def check_reset_is_carried_on(self, backend):
        proxy = self.begin(backend)
        def check(first, second):
            first.sendall(b"x")
            self.assertEqual(second.recv(1), b"x")
            support.reset(first)
            with self.assertRaises(ConnectionResetError):
                second.recv(1)
        self.both_ways(proxy, check)
        self.assertEqual(proxy.finish(self)["connections"], 0)

    def check_reset_under_pressure_is_carried_on(self, backend):
        """Both queues are full, so that nobody reads the side that breaks."""
        proxy = self.begin(backend)
        def check(first, second):
            for sender in (first, second):
                fill(sender)
            support.reset(first)
            with self.assertRaises(ConnectionResetError):
                support.receive_all(second)
        self.both_ways(proxy, check)
        proxy.finish(self)

    def check_no_upstream_is_no_clean_end(self, backend):
        proxy = self.begin(backend)
        self.listener.close()
        with self.assertRaises(ConnectionResetError):  # it may come before connect() has looked
            with proxy.connect() as client:
                client.recv(1)
        proxy.finish(self)
        self.assertIn("connection refused", proxy.errors)

    def check_pressure_both_ways(self, backend):
        """Both send without reading until nothing more is taken, then both read all of it."""
        proxy = self.begin(backend)
        before_kib = proxy.resident_kib()
        with Pair(proxy, self.listener) as ends:
            data = [random.Random(seed).randbytes(BULK_BYTES) for seed in (1, 2)]
            senders = [threading.Thread(target=send_all, args=pair) for pair in zip(ends, data)]
            for sender in senders:
                sender.start()
            support.wait_until(Stillness(ends), "both directions stall")
            grown_kib = proxy.resident_kib() - before_kib
            got = [None, None]

            def read(index):
                got[index] = hashlib.sha256(support.receive_all(ends[index])).digest()
            readers = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
            for thread in readers:
                thread.start()
            for thread in readers + senders:
                thread.join()
            self.assertEqual(got, [hashlib.sha256(sent).digest() for sent in reversed(data)])
        if support.MEMORY_COUNTS:
            self.assertLess(grown_kib, PRESSED_KIB_MAX)
        counters = proxy.finish(self)
        self.assertEqual(counters["bytes_sent"], 2 * BULK_BYTES)
        self.assertGreater(counters["writes_pressured"], 0)

    def check_connections_that_come_and_go_leave_nothing(self, backend):
        proxy = self.begin(backend)
        before = None
        for round_ in range(4):
            pairs = [Pair(proxy, self.listener) for _ in range(50)]
            for number, pair in enumerate(pairs):
                with pair as (client, server):
                    client.sendall(b"x" * 100)
                    self.assertEqual(support.receive_exactly(server, 100), b"x" * 100)
                    if number % 3 == 0:
                        support.reset(client)
                    elif number % 3 == 1:
                        support.reset(server)
            if before is None:
                support.wait_until(lambda: proxy.descriptor_count() < 12, "the proxy let go of all connections")
                before = proxy.descriptor_count()
        support.wait_until(lambda: proxy.descriptor_count() <= before, f"no more than {before} descriptors")
        self.assertEqual(proxy.finish(self)["connections"], 0)


def fill(connection):
    connection.settimeout(0.2)
    try:
        while True:
            connection.send(bytes(1 << 16))
    except TimeoutError:
        connection.settimeout(support.WAIT_SECONDS)


def send_all(connection, data):
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


class Stillness:
    """Whether the bytes that wait in the senders' sockets have stayed the same for twenty looks, and are some."""
    SIOCOUTQ = 0x5411

    def __init__(self, senders):
        self.senders = senders
        self.last, self.looks = None, 0

    def __call__(self):
        now = []
        for sender in self.senders:
            waiting = array.array("i", [0])
            fcntl.ioctl(sender, self.SIOCOUTQ, waiting)
            now.append(waiting[0])
        self.looks = self.looks + 1 if now == self.last and all(now) else 0
        self.last = now
        return self.looks >= 20


if __name__ == "__main__":
    support.main()
