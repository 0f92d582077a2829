"""Who may come in, and what nobody may do: framing, deadlines, limits, names, origins."""
import base64
import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from rig import MODELS, PROGRAM, SMALL, Case, Server, drip

# crypt(3) of pass:word and of second
SHA512 = "$6$5a3Otn3Ob/w374of$CyV1Os5oXy7yubQiLgABc3dxm3yMfQa/PgM/48yEOCJwmXsh6B3FpDqwJS8IE/R7Uf/kJ67E8I2AVxuCKqUKn1"
BCRYPT = "$2b$10$3dozu5jVUuM2LvUliCRqt.3qasQCN8hCm2hYOhHbxSex9Fa14hsU6"
HEAD = "Host: 127.0.0.1\r\n"


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(("%s:%s" % (name, password)).encode()).decode()}


class Raw(Case):
    """Beside its tests somebody sends a header a byte every half second."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.leave = threading.Event()
        cls.slow = threading.Thread(target=drip, args=(cls.server, cls.leave))
        cls.slow.start()

    @classmethod
    def tearDownClass(cls):
        cls.leave.set()
        cls.slow.join()
        super().tearDownClass()

    def talk(self, data, wait=5, shut=False):
        """What comes back for some bytes; b"" where the connection is only closed."""
        with socket.create_connection((self.server.host, self.server.port), timeout=wait) as s:
            out = b""
            try:
                s.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
                if shut:
                    s.shutdown(socket.SHUT_WR)
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        return out
                    out += piece
            except OSError:  # too late, or closed already
                return out

    def status(self, data, **more):
        answer = self.talk(data, **more)
        return int(answer.split(b" ")[1]) if answer else 0

    def test_two_readings_of_a_length_are_refused(self):
        post = "POST /sdapi/v1/interrupt HTTP/1.1\r\nConnection: close\r\n" + HEAD
        for head in ("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
                     "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                     "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Content-Length : 2\r\n\r\n{}",
                     "Content-Length: 2, 2\r\n\r\n{}", "Content-Length: -2\r\n\r\n", "Content-Length: 0x2\r\n\r\n{}",
                     "X y: 1\r\nContent-Length: 2\r\n\r\n{}", "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"):
            self.assertIn(self.status(post + head, wait=2), (0, 400, 413, 415), head)
        self.assertEqual(self.status(post + "Content-Length: 2\r\n\r\n{}"), 200)

    def test_names(self):
        get = "GET /sdapi/v1/options HTTP/1.1\r\nConnection: close\r\n%s\r\n"
        for host in ("127.0.0.1", "localhost:7860", "[::1]:80", "192.168.1.2:7860", "LocalHost \t"):
            self.assertEqual(self.status(get % ("Host: %s\r\n" % host)), 200, host)
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "evil.example:80", "a@localhost"):
            self.assertEqual(self.status(get % ("Host: %s\r\n" % host)), 403, host)
        self.assertEqual(self.status(get % "Host: \r\n"), 400)
        self.assertEqual(self.status(get % "Host: localhost\r\nHost: localhost\r\n"), 400)
        self.assertIn(self.status(get % ""), (0, 400))

    def test_foreign_pages(self):
        for origin in ("http://evil.example", "null", "https://127.0.0.1:1"):
            r = self.server.post("/sdapi/v1/interrupt", headers={"Origin": origin})
            self.assertEqual(r.status, 403, origin)
            r = self.server.get("/sdapi/v1/options", headers={"Origin": origin})
            self.assertIsNone(r.headers["Access-Control-Allow-Origin"])
            r = self.server.ask("OPTIONS", "/sdapi/v1/txt2img", headers={"Origin": origin,
                                                                        "Access-Control-Request-Method": "POST"})
            self.assertIsNone(r.headers["Access-Control-Allow-Origin"])
            self.assertGreaterEqual(r.status, 400)
        own = "http://127.0.0.1:%d" % self.server.port
        self.assertEqual(self.server.post("/sdapi/v1/interrupt", headers={"Origin": own}).status, 200)

    def test_nonsense(self):
        for data in (b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\0" * 60,
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                     b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"):
            answer = self.talk(data, wait=2, shut=True)
            self.assertNotIn(b" 200 ", answer[:20], data[:40])
        self.assertEqual(self.server.get("/healthz").status, 200)

    def test_long_heads_are_refused_in_json(self):
        long = "a" * 9000
        for path, headers, status in (("/sdapi/v1/options?x=" + long, {}, 414), ("/" + long, {}, 414),
                                      ("/v1/models?" + long, {}, 414), ("/healthz", {"X-Long": long + long[:3000]}, 431),
                                      ("/v1/models", {"Cookie": long}, 431)):
            r = self.server.get(path, headers=headers)
            self.assertEqual((r.status, r.headers["Content-Type"]), (status, "application/json"), path[:20])
            text = r.json["error"]["message"] if path.startswith("/v1") else r.json["detail"]
            self.assertIn("more than", text)
        self.assertEqual(self.server.get("/healthz?x=" + "a" * 8000, headers={"X-Long": "a" * 8000}).status, 200)

    def test_bodies_are_limited(self):
        length = 64 << 20
        head = "POST /sdapi/v1/txt2img HTTP/1.1\r\nConnection: close\r\n" + HEAD
        self.assertEqual(self.status(head + "Content-Length: %d\r\n\r\n" % length), 413)
        with socket.create_connection((self.server.host, self.server.port), timeout=20) as s:
            s.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
            try:
                for _ in range(64):
                    s.sendall(piece)
                s.sendall(b"0\r\n\r\n")
                answer = s.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                answer = b"HTTP/1.1 413"
            self.assertIn(b" 413", answer)
        r = self.server.post("/sdapi/v1/txt2img", raw=json.dumps(dict(SMALL, prompt="x" * (1 << 20))).encode())
        self.assertEqual(r.status, 422)

    def test_a_byte_at_a_time_stalls_nobody(self):
        self.assertTrue(self.slow.is_alive())
        worst = 0
        for _ in range(50):
            at = time.time()
            self.assertEqual(self.server.get("/healthz").status, 200)
            worst = max(worst, time.time() - at)
        self.assertLess(worst, 1)

    def test_a_caller_who_leaves(self):
        long = self.server.add(steps=300, width=128, height=128)
        self.server.until(long, ("running",))
        body = json.dumps(SMALL).encode()
        s = socket.create_connection((self.server.host, self.server.port))
        s.sendall(b"POST /sdapi/v1/txt2img HTTP/1.1\r\n" + HEAD.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(100):
            waiting = self.server.get("/ballast/v1/jobs?state=queued").json["items"]
            if waiting:
                break
            time.sleep(0.05)
        s.close()
        self.assertEqual(self.server.until(waiting[0]["id"])["state"], "cancelled")
        self.server.ask("DELETE", "/ballast/v1/jobs/" + long)


class Origins(Case):
    flags = ("--allow-origin", "http://localhost:5001/", "--allow-origin", "https://pictures.example")

    def test_allowed_pages(self):
        for origin in ("http://localhost:5001", "https://pictures.example"):
            r = self.server.ask("OPTIONS", "/sdapi/v1/txt2img", headers={
                "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-sdk-os"})
            self.assertEqual((r.status // 100, r.headers["Access-Control-Allow-Origin"]), (2, origin))
            self.assertRegex(r.headers["Access-Control-Allow-Headers"], "content-type.*authorization.*x-sdk-os$")
            r = self.server.post("/sdapi/v1/interrupt", headers={"Origin": origin})
            self.assertEqual((r.status, r.headers["Access-Control-Allow-Origin"]), (200, origin))
            self.assertIsNone(r.headers["Access-Control-Allow-Credentials"])
        self.assertEqual(self.server.post("/sdapi/v1/interrupt", headers={"Origin": "http://localhost:5002"}).status, 403)
        self.assertEqual(self.server.get("/healthz", headers={"Host": "pictures.example"}).status, 200)


class Passwords(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.users = os.path.join(self.folder.name, "users")
        self.keys = os.path.join(self.folder.name, "keys")
        with open(self.users, "w") as f:
            f.write("# people\nann:%s\nbob:%s\n" % (SHA512, BCRYPT))
        with open(self.keys, "w") as f:
            f.write("  0123456789abcdef0123 \n")

    def tearDown(self):
        self.folder.cleanup()

    def test_everything_asks(self):
        server = Server("--auth", self.users, "--api-keys", self.keys)
        try:
            for path in ("/", "/nowhere", "/sdapi/v1/options", "/v1/models", "/ballast/v1/jobs", "/login"):
                for headers in ({}, {"Authorization": "Basic "}, {"Authorization": "Basic !!"}, basic("ann", "wrong"),
                                basic("nobody", "second"), {"Authorization": "Bearer 0123456789abcdef012"}):
                    r = server.get(path, headers=headers)
                    self.assertEqual((r.status, r.headers["WWW-Authenticate"][:5]), (401, "Basic"), (path, headers))
                    self.assertNotIn(b"wrong", r.data)
            self.assertEqual(server.get("/healthz").status, 200)
            for headers in (basic("ann", "pass:word"), basic("bob", "second"), basic("any", "0123456789abcdef0123"),
                            {"Authorization": "Bearer 0123456789abcdef0123"}):
                self.assertEqual(server.get("/sdapi/v1/options", headers=headers).status, 200, headers)
            start = time.time()
            for _ in range(50):
                self.assertEqual(server.get("/sdapi/v1/options", headers=basic("bob", "second")).status, 200)
                # What lies ready for some is not given to others.
                self.assertEqual(server.get("/sdapi/v1/progress", headers=basic("bob", "second")).status, 200)
                self.assertEqual(server.get("/sdapi/v1/progress").status, 401)
            self.assertEqual(server.get("/sdapi/v1/progress", headers=basic("bob", "secone")).status, 401)
            self.assertLess(time.time() - start, 15)  # a hash for each would take a quarter of a minute, or twice
            self.assertEqual(server.post("/sdapi/v1/txt2img", SMALL).status, 401)
            with open(server.data + ".log", "rb") as log:
                self.assertNotIn(b"0123456789abcdef", log.read())
        finally:
            server.close()

    def start(self, *flags):
        with tempfile.TemporaryDirectory() as data:
            return subprocess.run([PROGRAM, "serve", "--models", MODELS, "--data", data, *flags], capture_output=True,
                                  timeout=60)

    def test_no_start_without_it(self):
        clear, empty = os.path.join(self.folder.name, "clear"), os.path.join(self.folder.name, "empty")
        with open(clear, "w") as f:
            f.write("ann:secret\n")
        open(empty, "w").close()
        cut = os.path.join(self.folder.name, "cut")
        with open(cut, "w") as f:
            f.write("ann:%s\n" % SHA512[:60])
        for flags, says in ((("--listen", "0.0.0.0:0"), b"--insecure"), (("--auth", clear), b"clear:1"),
                            (("--auth", empty), b"nobody"), (("--auth", "/nonexistent"), b"No such file"),
                            (("--api-keys", empty), b"nobody"), (("--listen", "nonsense"), b"HOST:PORT"),
                            (("--listen", "127.0.0.1:99999"), b"HOST:PORT"), (("--auth", cut), b"cut:1"),
                            (("--base-path", "sd"), b"begin with a /"), (("--allow-origin", "localhost"), b"no origin"),
                            (("--allow-origin", "*"), b"no origin"), (("--allow-origin", "http://a/b"), b"no origin")):
            r = self.start(*flags)
            self.assertEqual(r.returncode, 2, flags)
            self.assertIn(says, r.stderr)
            self.assertNotIn(b"secret", r.stderr)

    def test_spelled_out(self):
        server = Server("--listen", "0.0.0.0:0", "--insecure")
        try:
            c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            c.request("GET", "/healthz")
            self.assertEqual(c.getresponse().status, 200)
            c.close()
        finally:
            server.close()


class BasePath(Case):
    flags = ("--base-path", "/sd")

    def test_both(self):
        self.assertEqual(self.server.get("/sd/sdapi/v1/options").status, 200)
        self.assertEqual(self.server.get("/sdapi/v1/options").status, 200)
        self.assertEqual(self.server.get("/sdx/sdapi/v1/options").status, 404)


if __name__ == "__main__":
    unittest.main()
