"""9,000 connections at once: every byte is compared, and what they left behind the next ones find again."""

import unittest

import support

CONNECTIONS = 9000
# Waves behind it are smaller: the kernel remembers each connection for a minute, and only so many (tcp_max_tw_buckets);
# without its memory of them it resets some of those that come from the same port.
MORE_CONNECTIONS = 2000
WAVES_MAX = 5
KEPT_KIB_MAX = 64 * 1024  # of slabs, and the whole receive memory of a loop
LEAK_KIB = 512            # 262 bytes a connection


@support.on_backends()
class Scale(unittest.TestCase):
    def wave(self, service, descriptors, connections):
        """Resident memory after it. From several addresses: the ports of one would not suffice."""
        result = support.run_load(self, service, "--connections", connections, "--sources", 16, "--requests", 2 * connections,
                                  "--size", 200, "--timeout", 20)
        self.assertEqual((result["connected"], result["requests"]), (connections, 2 * connections))
        self.assertGreater(result["least_answers"], 0)  # some had three before others had two
        support.wait_until(lambda: service.descriptor_count() <= descriptors, "all descriptors are closed again")
        return service.resident_kib()

    def waves(self, service):
        support.run_load(self, service, "--connections", 8, "--requests", 100)
        descriptors, before_kib = service.descriptor_count(), service.resident_kib()
        after_kib = [self.wave(service, descriptors, CONNECTIONS)]
        self.assertLess(after_kib[0] - before_kib, KEPT_KIB_MAX)
        # Free memory is kept for the next wave. It may need a little more at once than the one before, a few times; a leak
        # would need more each time.
        while len(after_kib) < WAVES_MAX:
            after_kib.append(self.wave(service, descriptors, MORE_CONNECTIONS))
            if after_kib[-1] - after_kib[-2] < LEAK_KIB:
                break
        self.assertLess(after_kib[-1] - after_kib[-2], LEAK_KIB, after_kib)
        counters = service.finish(self)
        self.assertEqual(counters["accepted"], CONNECTIONS + (len(after_kib) - 1) * MORE_CONNECTIONS + 8)
        self.assertEqual((counters["connections"], counters["scopes_failed"]), (0, 0))

    def check_echo(self, backend):
        self.waves(support.start(self, "echo", backend=backend))

    def check_tcp_proxy(self, backend):
        echo = support.start(self, "echo", backend="epoll")
        self.waves(support.start_proxy(self, echo.address, backend=backend))
        echo.finish(self)


if __name__ == "__main__":
    support.main()
