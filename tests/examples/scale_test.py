"""9,000 connections at once, twice: every byte is compared, and what the first wave left behind the second finds again."""

import unittest

import support

CONNECTIONS = 9000
# From several addresses: the ports of one would not suffice with those that still wait for their end.
WAVE = ["--connections", CONNECTIONS, "--sources", 16, "--requests", 2 * CONNECTIONS, "--size", 200, "--timeout", 20]
KEPT_KIB_MAX = 64 * 1024  # of slabs, and the whole receive memory of a loop
GROWTH_KIB_MAX = 1024     # from the first wave to the second


@support.on_backends()
class Scale(unittest.TestCase):
    def waves(self, service):
        support.run_load(self, service, "--connections", 8, "--requests", 100)
        descriptors, resident_kib = service.descriptor_count(), service.resident_kib()
        after_kib = []
        for _ in range(2):
            result = support.run_load(self, service, *WAVE)
            self.assertEqual((result["connected"], result["requests"]), (CONNECTIONS, 2 * CONNECTIONS))
            self.assertGreater(result["least_answers"], 0)  # some had three before others had two
            support.wait_until(lambda: service.descriptor_count() <= descriptors, "all descriptors are closed again")
            after_kib.append(service.resident_kib())
        self.assertLess(after_kib[0] - resident_kib, KEPT_KIB_MAX)
        self.assertLess(after_kib[1] - after_kib[0], GROWTH_KIB_MAX)
        counters = service.finish(self)
        self.assertEqual(counters["accepted"], 2 * CONNECTIONS + 8)
        self.assertEqual((counters["connections"], counters["scopes_failed"]), (0, 0))

    def check_echo(self, backend):
        self.waves(support.start(self, "echo", backend=backend))

    def check_tcp_proxy(self, backend):
        echo = support.start(self, "echo", backend="epoll")
        self.waves(support.start_proxy(self, echo.address, backend=backend))
        echo.finish(self)


if __name__ == "__main__":
    support.main()
