"""weir's services with clients of others, and weir's client with servers of others."""

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import support
from support import BUILD, WAIT_SECONDS

needs_http = unittest.skipUnless((BUILD / "examples/http_hello").exists(), "http_hello: built without llhttp")


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"{program}: not installed")


def run(*command, data=None):
    return subprocess.run([str(word) for word in command], input=data, capture_output=True, timeout=WAIT_SECONDS * 3)


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


needs_ipv6 = unittest.skipUnless(has_ipv6(), "no IPv6 on this machine")


def address_of(listening):
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AsyncioServer:
    """On a thread of its own: an echo, or a small HTTP server."""

    def __init__(self, handler, host="127.0.0.1"):
        self.host = host
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # resets by those who found a fault are no news
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(handler,))
        self.thread.start()
        self.ready.wait()

    def run(self, handler):
        async def serve():
            self.stopped = asyncio.Event()
            server = await asyncio.start_server(handler, self.host, 0, backlog=1024)
            self.address = address_of(server.sockets[0])
            self.ready.set()
            await self.stopped.wait()
            server.close()
        self.loop.run_until_complete(serve())

    def stop(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join()
        self.loop.close()


async def echo(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def answer_in_odd_pieces(reader, writer):
    """Answers GET in chunks of changing sizes, with a head that differs from answer to answer, in small writes."""
    number = 0
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            number += 1
            writer.write(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % number)
            left = 500
            while left > 0:
                size = min(left, 1 + number % 97)
                writer.write(b"%x\r\n%s\r\n" % (size, b"b" * size))
                left -= size
                if number % 7 == 0:
                    await writer.drain()
            writer.write(b"0\r\n\r\n")
    except asyncio.IncompleteReadError:
        writer.close()


async def echo_wrong_once(reader, writer):
    count = 0
    while data := await reader.read(1 << 16):
        count += len(data)
        writer.write(data if count < 5000 else bytes([data[0] ^ 1]) + data[1:])
    writer.close()


async def end_early(reader, writer):
    await reader.read(1 << 16)
    writer.write(b"x")
    writer.close()


def is_listening(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


class OthersProgram:
    """A server of others, until the end of the test."""

    def __init__(self, test, address, command, **options):
        self.process = subprocess.Popen([str(word) for word in command], **options)
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)
        support.wait_until(lambda: is_listening(address), f"{command[0]} listens")


def start_socat(test):
    """An echo: a `cat` for each connection. Where it listens."""
    address = support.free_address()
    host, port = address.split(":")
    OthersProgram(test, address, ["socat", f"TCP-LISTEN:{port},bind={host},reuseaddr,fork,backlog=100", "EXEC:cat"])
    return address


def start_http_server(test, files):
    """Python's own, on a folder with `files`. Where it listens."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    for name, content in files.items():
        with open(os.path.join(folder.name, name), "wb") as file:
            file.write(content)
    address = support.free_address()
    host, port = address.split(":")
    OthersProgram(test, address, [sys.executable, "-m", "http.server", port, "--bind", host, "--protocol", "HTTP/1.1",
                                  "--directory", folder.name],
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return address


@support.on_backends()
class OthersClients(unittest.TestCase):
    def check_asyncio(self, backend):
        service = support.start(self, "echo", backend=backend)

        async def client(number):
            reader, writer = await asyncio.open_connection(service.host, service.port)
            data = os.urandom(30_000 + 1000 * number)
            writer.write(data)
            writer.write_eof()
            got = await reader.read()
            writer.close()
            return got == data

        async def clients():
            return await asyncio.gather(*(client(number) for number in range(100)))
        self.assertEqual(asyncio.run(clients()), [True] * 100)
        service.finish(self)

    @needs("socat")
    def check_socat_through_two(self, backend):
        """socat -> tcp_proxy -> echo and back, half-close included: it ends when the echo of its end has come."""
        service = support.start(self, "echo", backend=backend)
        proxy = support.start_proxy(self, service.address, backend=backend)
        data = os.urandom(3_000_000)
        done = run("socat", "-t", WAIT_SECONDS, "-", f"TCP:{proxy.address}", data=data)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())
        proxy.finish(self)
        service.finish(self)

    @needs_http
    @needs("curl")
    def check_curl(self, backend):
        service = support.start(self, "http_hello", backend=backend)
        url = f"http://{service.address}"
        body = os.urandom(700_000)
        rows = [  # arguments, input, what comes
            ([url + "/"], None, b"Hello, world!\n"),
            ([url + "/", url + "/", url + "/"], None, b"Hello, world!\n" * 3),
            (["--http1.0", url + "/"], None, b"Hello, world!\n"),
            (["--data-binary", "@-", url + "/echo"], body, body),
            (["-H", "Expect: 100-continue", "--data-binary", "@-", url + "/echo"], body, body),
            (["-H", "Transfer-Encoding: chunked", "--data-binary", "@-", url + "/echo"], body, body),
            (["-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", url + "/"], None, b"405"),
            (["-o", "/dev/null", "-w", "%{http_code}", "-I", url + "/nothing"], None, b"404"),
            (["-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-I", url + "/"], None, b"200 0"),
            (["-o", "/dev/null", "-w", "%{num_connects}", url + "/", "-o", "/dev/null", url + "/"], None, b"10"),  # one, for both
        ]
        for arguments, data, wanted in rows:
            with self.subTest(arguments=arguments):
                done = run("curl", "-sS", "--max-time", WAIT_SECONDS, *arguments, data=data)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout, wanted)
        service.finish(self)

    @needs_http
    @needs("ab")
    def check_apache_bench(self, backend):
        service = support.start(self, "http_hello", backend=backend)
        body = tempfile.NamedTemporaryFile()
        self.addCleanup(body.close)
        body.write(os.urandom(5000))
        body.flush()
        post = ["-p", body.name, "-T", "application/octet-stream"]
        for extra, path in (([], "/"), (["-k"], "/"), (["-k", *post], "/echo"), (["-k", "-i"], "/")):
            with self.subTest(extra=extra):
                done = run("ab", "-q", "-n", 1000, "-c", 20, *extra, f"http://{service.address}{path}")
                text = done.stdout.decode()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(text, r"Complete requests:\s+1000\n")
                self.assertRegex(text, r"Failed requests:\s+0\n")
                self.assertNotIn("Non-2xx", text)
        service.finish(self)


@support.on_backends()
class OthersServers(unittest.TestCase):
    def serve(self, handler):
        server = AsyncioServer(handler)
        self.addCleanup(server.stop)
        return server.address

    def check_echo_of_asyncio(self, backend):
        address = self.serve(echo)
        for connections, pipeline, size in ((20, 1, 64), (5, 8, 1500), (3, 2, 100_000)):
            with self.subTest(size=size):
                result = support.finish_load(self, support.load(
                    "--connect", address, "--backend", backend, "--connections", connections, "--pipeline", pipeline,
                    "--size", size, "--requests", 300))
                self.assertEqual(result["requests"], 300)
                self.assertGreaterEqual(result["latency_us"]["p99"], result["latency_us"]["p50"])

    @needs("socat")
    def check_echo_of_socat(self, backend):
        """By load itself, and through tcp_proxy."""
        address = start_socat(self)
        proxy = support.start_proxy(self, address, backend=backend)
        for server in (address, proxy.address):
            with self.subTest(server=server):
                result = support.finish_load(self, support.load("--connect", server, "--backend", backend, "--connections", 10,
                                                                "--pipeline", 2, "--size", 3000, "--requests", 300))
                self.assertEqual(result["requests"], 300)
        with proxy.connect() as client:  # half-close, all the way to the `cat` and back
            data = os.urandom(100_000)
            sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(1)))
            sender.start()
            self.assertEqual(support.receive_all(client), data)
            sender.join()
        proxy.finish(self)

    @needs_http
    def check_http_server_of_python(self, backend):
        """Its heads have dates, its answers come in two writes."""
        address = start_http_server(self, {"small": b"hello", "large": os.urandom(300_000)})
        proxy = support.start_proxy(self, address, backend=backend)
        for server in (address, proxy.address):
            for path, requests in (("/small", 40), ("/large", 10)):  # 40 ms each: Nagle and a delayed ACK
                with self.subTest(server=server, path=path):
                    result = support.finish_load(self, support.load(
                        "--connect", server, "--backend", backend, "--protocol", "http", "--path", path, "--connections", 5,
                        "--requests", requests))
                    self.assertEqual(result["requests"], requests)
        proxy.finish(self)

    def check_http_in_odd_pieces(self, backend):
        address = self.serve(answer_in_odd_pieces)
        result = support.load("--connect", address, "--backend", backend, "--protocol", "http", "--connections", 5,
                              "--pipeline", 3, "--requests", 300)
        if not (BUILD / "examples/http_hello").exists():
            result.communicate()
            self.skipTest("load: built without llhttp")
        self.assertEqual(support.finish_load(self, result)["requests"], 300)

    def check_proxy_to_asyncio(self, backend):
        proxy = support.start_proxy(self, self.serve(echo), backend=backend)
        support.run_load(self, proxy, "--connections", 10, "--size", 3000, "--requests", 500)
        proxy.finish(self)


@support.on_backends()
@needs_ipv6
class Families(unittest.TestCase):
    """IPv6, and both at once. The answers to clients of others are those of above."""

    def check_ipv6(self, backend):
        service = support.start(self, "echo", "--listen", "[::1]:0", backend=backend)
        self.assertRegex(service.first_line, r"^listening \[::1\]:\d+ ")
        proxy = support.start_proxy(self, service.address, "--listen", "[::1]:0", backend=backend)
        support.finish_load(self, support.load("--connect", proxy.address, "--backend", backend, "--size", 3000,
                                               "--requests", 500))
        proxy.finish(self)
        self.assertEqual(service.finish(self)["bytes_received"], 500 * 3000)

    def check_both_at_once(self, backend):
        service = support.start(self, "echo", "--listen", "[::]:0", backend=backend)
        for address in (f"127.0.0.1:{service.port}", f"[::1]:{service.port}"):
            with self.subTest(address=address):
                support.finish_load(self, support.load("--connect", address, "--backend", backend, "--requests", 500))
        self.assertEqual(service.finish(self)["bytes_received"], 2 * 500 * 64)

    def check_from_one_to_the_other(self, backend):
        server = AsyncioServer(echo, "::1")
        self.addCleanup(server.stop)
        proxy = support.start_proxy(self, server.address, backend=backend)
        support.run_load(self, proxy, "--requests", 500, "--size", 3000)
        proxy.finish(self)

    @needs_http
    @needs("curl")
    def check_curl(self, backend):
        service = support.start(self, "http_hello", "--listen", "[::]:0", backend=backend)
        for option, host in (("-4", "127.0.0.1"), ("-6", "[::1]")):
            with self.subTest(host=host):
                done = run("curl", "-sS", "--max-time", WAIT_SECONDS, option, f"http://{host}:{service.port}/")
                self.assertEqual((done.returncode, done.stdout), (0, b"Hello, world!\n"), done.stderr)
        service.finish(self)

    @needs("socat")
    def check_socat(self, backend):
        service = support.start(self, "echo", "--listen", "[::1]:0", backend=backend)
        data = os.urandom(300_000)
        done = run("socat", "-t", WAIT_SECONDS, "-", f"TCP6:{service.address}", data=data)
        self.assertEqual((done.returncode, done.stdout == data), (0, True), done.stderr)
        service.finish(self)


class LoadFindsFaults(unittest.TestCase):
    """A load generator that cannot fail would prove nothing."""

    def fault_of(self, handler, *options):
        server = AsyncioServer(handler)
        self.addCleanup(server.stop)
        process = support.load("--connect", server.address, "--timeout", "0.5", *options)
        out, error = process.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(process.returncode, 1, error)
        result = json.loads(out)
        self.assertTrue(result["first_fault"])
        return {name for name, count in result["faults"].items() if count and name != "all"}

    def test_one_wrong_bit(self):
        self.assertEqual(self.fault_of(echo_wrong_once, "--connections", 1, "--requests", 1000), {"wrong_bytes"})

    def test_an_early_end(self):
        self.assertEqual(self.fault_of(end_early, "--connections", 1, "--requests", 10), {"wrong_bytes"})
        self.assertEqual(self.fault_of(close_at_once, "--connections", 1, "--requests", 10), {"early_end"})

    def test_answers_that_never_come(self):
        self.assertEqual(self.fault_of(swallow, "--connections", 2, "--duration", "0.1"), {"unanswered"})

    def test_nobody_listens(self):
        listener, address = support.listen()
        listener.close()
        process = support.load("--connect", address, "--connections", 3)
        self.assertEqual(process.wait(timeout=WAIT_SECONDS), 1)
        self.assertIn('"connect": 3', process.communicate()[0])

    def test_not_http(self):
        if not (BUILD / "examples/http_hello").exists():
            self.skipTest("load: built without llhttp")
        self.assertEqual(self.fault_of(echo, "--protocol", "http", "--connections", 1, "--requests", 10), {"bad_answer"})


async def close_at_once(reader, writer):
    await reader.readexactly(64)
    writer.close()


async def swallow(reader, writer):
    while await reader.read(1 << 16):
        pass
    writer.close()


if __name__ == "__main__":
    support.main()
