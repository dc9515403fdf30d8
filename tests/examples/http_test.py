"""http_hello against clients that speak raw bytes: every status, what must be refused, and what must not."""

import socket
import time
import unittest

import support
from support import BUILD, WAIT_SECONDS

HOST = b"Host: a\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
TIMEOUT_SECONDS = 1  # of the service under test: the least there is


def post(length, body=b"", extra=b""):
    return b"POST /echo HTTP/1.1\r\n" + HOST + extra + b"Content-Length: " + length + b"\r\n\r\n" + body


def get(extra=b"", line=b"GET / HTTP/1.1", host=HOST):
    return line + b"\r\n" + host + extra + b"\r\n"


# What a proxy in front and this server could understand differently. The request is refused, and what follows it on the
# connection is never taken for another one: each row is sent with a hidden request behind it.
SMUGGLING = {
    "both lengths, Content-Length first": post(b"4", b"0\r\n\r\n", b"").replace(
        b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
    "both lengths, Transfer-Encoding first": post(b"4", b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"),
    "two lengths that differ": post(b"3", b"abc", b"Content-Length: 0\r\n"),
    "two lengths that agree": post(b"3", b"abc", b"Content-Length: 3\r\n"),
    "a list of lengths": post(b"3, 3", b"abc"),
    "a length with a sign": post(b"+3", b"abc"),
    "a negative length": post(b"-3", b"abc"),
    "a length in hex": post(b"0x3", b"abc"),
    "a length with a space inside": post(b"3 3", b"abc"),
    "an empty length": post(b"", b"abc"),
    "a length beyond 64 bits": post(b"18446744073709551619", b"abc"),
    "a space before the colon of a length": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
    "a space before the colon of a coding": CHUNKED.replace(b"g: ", b"g : ") + b"\r\n0\r\n\r\n",
    "a vertical tab before the colon": CHUNKED.replace(b"g: ", b"g\x0b: ") + b"\r\n0\r\n\r\n",
    "a vertical tab in the coding": CHUNKED.replace(b": chunked", b": \x0bchunked") + b"\r\n0\r\n\r\n",
    "a coding that only resembles chunked": CHUNKED.replace(b": chunked", b": xchunked") + b"\r\n0\r\n\r\n",
    "chunked is not last": CHUNKED.replace(b": chunked", b": chunked, gzip") + b"\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": CHUNKED.replace(b": chunked", b": identity") + b"\r\nabc",
    "identity, then chunked": CHUNKED.replace(b": chunked", b": identity") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding before chunked": CHUNKED.replace(b": chunked", b": gzip, chunked") + b"\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n",
    "a folded line": get(b"X: a\r\n b\r\n"),
    "a folded line with a tab": get(b"X: a\r\n\tb\r\n"),
    "a folded line after nothing": get(b"X: \r\n b\r\n"),
    "a folded length": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 3\r\n\r\nabc",
    "a folded line in the trailers": CHUNKED + b"\r\n0\r\nX: a\r\n b\r\n\r\n",
    "a space before the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "a bare LF after a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "a bare LF at the end of the head": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "two bare LFs": b"GET / HTTP/1.1\r\nHost: a\n\n",
    "a bare LF before the request": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare CR after the request line": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "a bare CR after a header": b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "a bare CR in a value": get(b"X: a\rb\r\n"),
    "a bare LF after a chunk's size": CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n",
    "a bare LF after a chunk": CHUNKED + b"\r\n3\r\nabc\n0\r\n\r\n",
    "a bare LF after the last chunk's size": CHUNKED + b"\r\n3\r\nabc\r\n0\n\r\n",
    "a bare LF after the trailers": CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\n",
    "a bare LF in a chunk's extension": CHUNKED + b"\r\n3;a=b\nabc\r\n0\r\n\r\n",
    "a bare LF in a quoted extension": CHUNKED + b"\r\n3;a=\"b\n\"\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n3\r\nabcde\r\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"\r\n+3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"\r\n3 \r\nabc\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "no Host": get(host=b""),
    "two Hosts": get(b"Host: b\r\n"),
    "a header without a name": get(b": a\r\n"),
    "a header without a colon": get(b"Content-Length\r\n"),
    "a space in a header's name": get(b"Content Length: 3\r\n"),
    "a NUL in a value": get(b"X: a\x00b\r\n"),
    "a NUL in the target": get(line=b"GET /\x00 HTTP/1.1"),
    "a control character in a value": get(b"X: a\x01b\r\n"),
    "a space after the version": get(line=b"GET / HTTP/1.1 "),
    "no version": b"GET /\r\n\r\n",
    "a version to come": get(line=b"GET / HTTP/2.0"),
    "a version that never was": get(line=b"GET / HTTP/1.2"),
    "a method in lower case": get(line=b"get / HTTP/1.1"),
    "a method nobody knows": get(line=b"SMUGGLE / HTTP/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the start of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
}
REFUSALS = {"another coding before chunked": 501, "identity, then chunked": 501, "no version": 505, "a version to come": 505}
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"

STATUSES = [  # name, request, status, words the answer must have
    ("hello", get(), 200, [b"Hello, world!\n", b"Content-Length: 14\r\n"]),
    ("a query", get(line=b"GET /?a=b HTTP/1.1"), 200, [b"Hello"]),
    ("the absolute form", get(line=b"GET http://a/ HTTP/1.1"), 200, [b"Hello"]),
    ("the absolute form without a path", get(line=b"GET http://a HTTP/1.1"), 200, [b"Hello"]),
    ("an empty line before", b"\r\n" + get(), 200, [b"Hello"]),
    ("a body nobody asked for", get(b"Content-Length: 3\r\n") + b"abc", 200, [b"Hello"]),
    ("echo", post(b"3", b"abc"), 200, [b"\r\n\r\nabc", b"Content-Length: 3\r\n"]),
    ("echo of nothing", post(b"0"), 200, [b"Content-Length: 0\r\n"]),
    ("echo in chunks", CHUNKED + b"\r\n3\r\nabc\r\n2;x=\"y\"\r\nde\r\n0\r\nX: y\r\n\r\n", 200,
     [b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"2\r\nde\r\n", b"\r\n0\r\n\r\n"]),
    ("no such path", get(line=b"GET /nothing HTTP/1.1"), 404, [b"404 Not Found\n"]),
    ("an upgrade is not taken", get(b"Connection: upgrade\r\nUpgrade: h2c\r\n"), 200, [b"Hello"]),
    ("delete", get(line=b"DELETE / HTTP/1.1"), 405, [b"Allow: GET, HEAD\r\n"]),
    ("get of echo", get(line=b"GET /echo HTTP/1.1"), 405, [b"Allow: POST\r\n"]),
    ("too long a body", post(b"1048577"), 413, [b"Connection: close\r\n"]),
    ("too long a chunk", CHUNKED + b"\r\n100001\r\n", 413, [b"Connection: close\r\n"]),
    ("too long a target", get(line=b"GET /" + b"a" * 8192 + b" HTTP/1.1"), 414, [b"Connection: close\r\n"]),
    ("a target that never ends", b"GET /" + b"a" * 20_000, 414, []),
    ("too long a header", get(b"X: " + b"a" * 17_000 + b"\r\n"), 431, [b"Connection: close\r\n"]),
    ("too many headers", get(b"X: a\r\n" * 3000), 431, []),
    ("too long trailers", CHUNKED + b"\r\n0\r\n" + b"X: a\r\n" * 3000 + b"\r\n", 431, []),
]


def read_answer(connection, *, to_head=False):
    """Status, head and body of one answer; everything behind it stays with the caller's next call."""
    stream = connection.makefile("rb", buffering=0)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = stream.read(1)
        if not piece:
            return (0, head, b"")
        head += piece
    status = int(head.split(b" ", 2)[1])
    body = b""
    if status != 100 and not to_head:
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        if fields.get(b"transfer-encoding") == b"chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += stream.read(1)
        else:
            while len(body) < int(fields[b"content-length"]):
                body += stream.read(int(fields[b"content-length"]) - len(body))
    return status, head, body


@support.on_backends()
@unittest.skipUnless((BUILD / "examples/http_hello").exists(), "http_hello: built without llhttp")
class Http(unittest.TestCase):
    def serve(self, backend):
        return support.start(self, "http_hello", "--timeout", TIMEOUT_SECONDS, backend=backend)

    def say(self, service, request, piece_bytes=None):
        """All that comes back for `request`, sent at once or in pieces, up to the end of the connection."""
        with service.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for at in range(0, len(request), piece_bytes or len(request)):
                    connection.sendall(request[at:at + (piece_bytes or len(request))])
                connection.shutdown(1)
                return support.receive_all(connection)
            except ConnectionError as error:
                return repr(error).encode()

    def check_each_status(self, backend):
        service = self.serve(backend)
        for name, request, status, words in STATUSES:
            for piece_bytes in (None, 1) if len(request) < 200 else (None, 997):
                with self.subTest(name, piece_bytes=piece_bytes):
                    answer = self.say(service, request, piece_bytes)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer[:200])
                    self.assertEqual(answer.count(b"HTTP/1.1 "), 1, answer[:500])
                    if piece_bytes is None:
                        for word in words:
                            self.assertIn(word, answer)
        service.finish(self)

    def check_smuggling_is_refused(self, backend):
        service = self.serve(backend)
        for name, request in SMUGGLING.items():
            for piece_bytes in (None, 1):
                with self.subTest(name, piece_bytes=piece_bytes):
                    answer = self.say(service, request + HIDDEN, piece_bytes)
                    self.assertNotIn(b"404", answer)  # what the hidden request would get
                    if piece_bytes is None:
                        status = REFUSALS.get(name, 400)
                        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer[:200])
                        self.assertEqual(answer.count(b"HTTP/1.1 "), 1, answer)
                        self.assertIn(b"Connection: close\r\n", answer)
        service.finish(self)

    def check_head_has_the_head_of_get(self, backend):
        service = self.serve(backend)
        with service.connect() as connection:
            connection.sendall(get(line=b"HEAD / HTTP/1.1") + get())
            head_status, head, _ = read_answer(connection, to_head=True)
            status, same_head, body = read_answer(connection)
        self.assertEqual((head_status, head), (status, same_head))
        self.assertEqual(body, b"Hello, world!\n")
        service.finish(self)

    def check_pipelined_answers_come_in_order(self, backend):
        service = self.serve(backend)
        bodies = [bytes([65 + i % 26]) * (i * 37 % 2000) for i in range(300)]
        requests = b"".join(post(b"%d" % len(body), body) if i % 3 else get() for i, body in enumerate(bodies))
        with service.connect() as connection:
            connection.sendall(requests)
            for i, body in enumerate(bodies):
                status, _, got = read_answer(connection)
                self.assertEqual((status, got), (200, body if i % 3 else b"Hello, world!\n"), i)
        service.finish(self)

    def check_connection_goes_on_or_ends_as_asked(self, backend):
        service = self.serve(backend)
        rows = [  # request, what the answer says, whether the connection goes on
            (get(), b"", True),
            (get(b"Connection: close\r\n"), b"Connection: close\r\n", False),
            (get(line=b"GET / HTTP/1.0", host=b""), b"Connection: close\r\n", False),
            (get(b"Connection: keep-alive\r\n", line=b"GET / HTTP/1.0", host=b""), b"Connection: keep-alive\r\n", True),
        ]
        for request, says, goes_on in rows:
            with self.subTest(request=request), service.connect() as connection:
                for _ in range(2 if goes_on else 1):
                    connection.sendall(request)
                    status, head, _ = read_answer(connection)
                    self.assertEqual(status, 200)
                    self.assertIn(says, head)
                    self.assertEqual(head.count(b"Connection:"), 1 if says else 0)
                if not goes_on:
                    self.assertEqual(connection.recv(1), b"")
        service.finish(self)

    def check_continue_is_said_before_the_body(self, backend):
        service = self.serve(backend)
        with service.connect() as connection:
            connection.sendall(post(b"3", b"", b"Expect: 100-continue\r\n"))
            self.assertEqual(read_answer(connection)[0], 100)
            connection.sendall(b"abc")
            status, _, body = read_answer(connection)
            self.assertEqual((status, body), (200, b"abc"))
        service.finish(self)

    def check_slow_requests_get_408_and_idle_connections_just_end(self, backend):
        service = self.serve(backend)
        began = time.monotonic()
        waiting = {}
        for name, start in {"a head": b"GET / HT", "a body": post(b"9", b"abc").replace(b"/echo", b"/"), "idle": b""}.items():
            waiting[name] = service.connect()
            waiting[name].sendall(start)
        slow = service.connect()  # a byte now and then does not buy time for a head
        slow.settimeout(0.1)
        drip, dripped = iter(get(b"X: " + b"a" * 200 + b"\r\n")), b""
        while not dripped and time.monotonic() < began + WAIT_SECONDS:
            try:
                slow.sendall(bytes([next(drip)]))
                dripped = slow.recv(100)
            except TimeoutError:
                pass
        self.assertTrue(dripped.startswith(b"HTTP/1.1 408 "), dripped)
        for name, connection in waiting.items():
            with self.subTest(name):
                answer = support.receive_all(connection)
                self.assertEqual(answer[:13], b"" if name == "idle" else b"HTTP/1.1 408 ")
                connection.close()
        self.assertGreaterEqual(time.monotonic() - began, TIMEOUT_SECONDS)
        slow.close()
        service.finish(self)

    def check_refused_sender_still_gets_its_answer(self, backend):
        """413 to a client that goes on sending: closing with bytes unread would reset the connection under the answer."""
        service = self.serve(backend)
        with service.connect() as connection:
            connection.sendall(post(b"5000000"))
            connection.sendall(bytes(400_000))
            self.assertEqual(read_answer(connection)[0], 413)
        service.finish(self)

    def check_long_bodies_come_back(self, backend):
        service = self.serve(backend)
        body = bytes(i * 7 % 253 for i in range(1 << 20))
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 50_000]), body[at:at + 50_000])
                          for at in range(0, len(body), 50_000))
        rows = {"with a length": post(b"%d" % len(body), body), "in chunks": CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n"}
        for name, request in rows.items():
            with self.subTest(name):
                answer = self.say(service, request)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:100])
                came = answer.split(b"\r\n\r\n", 1)[1]
                self.assertEqual(unchunk(came) if name == "in chunks" else came, body)
        service.finish(self)

    def check_a_body_that_goes_wrong_late_is_cut_off(self, backend):
        """Its answer has begun, so nothing but the end of the connection can tell; the last chunk must not come."""
        service = self.serve(backend)
        with service.connect() as connection:
            connection.sendall(CHUNKED + b"\r\n3\r\nabc\r\n")
            self.assertTrue(connection.recv(1000).startswith(b"HTTP/1.1 200 "))
            try:
                connection.sendall(b"zz\r\n")
                rest = support.receive_all(connection)
            except ConnectionError:
                rest = b""
            self.assertNotIn(b"0\r\n\r\n", rest)
            self.assertNotIn(b"HTTP/", rest)
        service.finish(self)


def unchunk(data):
    body = b""
    while True:
        size, data = data.split(b"\r\n", 1)
        if int(size, 16) == 0:
            return body
        body, data = body + data[:int(size, 16)], data[int(size, 16) + 2:]


if __name__ == "__main__":
    support.main()
