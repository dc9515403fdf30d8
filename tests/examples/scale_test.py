"""9,000 connections at once, in waves: every byte is compared, and what one wave left behind the next one finds again."""

import unittest

import support

CONNECTIONS = 9000
# From several addresses: the ports of one would not suffice with those that still wait for their end.
WAVE = ["--connections", CONNECTIONS, "--sources", 16, "--requests", 2 * CONNECTIONS, "--size", 200, "--timeout", 20]
WAVES_MAX = 5
KEPT_KIB_MAX = 64 * 1024  # of slabs, and the whole receive memory of a loop
LEAK_KIB = 512            # 58 bytes a connection


@support.on_backends()
class Scale(unittest.TestCase):
    def wave(self, service, descriptors):
        """Resident memory after it."""
        result = support.run_load(self, service, *WAVE)
        self.assertEqual((result["connected"], result["requests"]), (CONNECTIONS, 2 * CONNECTIONS))
        self.assertGreater(result["least_answers"], 0)  # some had three before others had two
        support.wait_until(lambda: service.descriptor_count() <= descriptors, "all descriptors are closed again")
        return service.resident_kib()

    def waves(self, service):
        support.run_load(self, service, "--connections", 8, "--requests", 100)
        descriptors, before_kib = service.descriptor_count(), service.resident_kib()
        after_kib = [self.wave(service, descriptors)]
        self.assertLess(after_kib[0] - before_kib, KEPT_KIB_MAX)
        # Free memory is kept for the next wave. It may need a little more at once than the one before, a few times; a leak
        # would need more each time.
        while len(after_kib) < WAVES_MAX:
            after_kib.append(self.wave(service, descriptors))
            if after_kib[-1] - after_kib[-2] < LEAK_KIB:
                break
        self.assertLess(after_kib[-1] - after_kib[-2], LEAK_KIB, after_kib)
        counters = service.finish(self)
        self.assertEqual(counters["accepted"], len(after_kib) * CONNECTIONS + 8)
        self.assertEqual((counters["connections"], counters["scopes_failed"]), (0, 0))

    def check_echo(self, backend):
        self.waves(support.start(self, "echo", backend=backend))

    def check_tcp_proxy(self, backend):
        echo = support.start(self, "echo", backend="epoll")
        self.waves(support.start_proxy(self, echo.address, backend=backend))
        echo.finish(self)


if __name__ == "__main__":
    support.main()
