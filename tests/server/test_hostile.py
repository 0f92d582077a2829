"""What nobody sends by mistake: numbers that are none, nests without end, bodies in pieces, connections that are left
half open, requests hidden in others. Each gets an answer or a close, and meanwhile nobody else waits."""
import base64
import os
import socket
import struct
import tempfile
import threading
import time
import unittest

from rig import SMALL, Case, Server

V1 = "/ballast/v1/"
# A hash that takes half a second, of a password that nobody knows.
HASH = ("$6$rounds=1000000$saltsaltsalt$"
        "CyV1Os5oXy7yubQiLgABc3dxm3yMfQa/PgM/48yEOCJwmXsh6B3FpDqwJS8IE/R7Uf/kJ67E8I2AVxuCKqUKn1")


class Bodies(Case):
    flags = ("--max-body", "80M")

    def refusal(self, raw, path=V1 + "jobs", statuses=(400, 413, 422)):
        r = self.server.post(path, raw=raw)
        self.assertIn(r.status, statuses, (raw[:60], r.data[:200]))
        self.assertTrue(r.json.get("detail") or r.json.get("error"), r.data[:200])
        return r

    def test_numbers(self):
        before = len(self.server.get(V1 + "jobs?state=queued,running,done,failed").json["items"])
        for number in ("NaN", "Infinity", "-Infinity", "1e308", "1e309", "-1e308", "1" + "0" * 400, "0x10", "1e", "--1", "+1",
                       "9223372036854775808", "-9223372036854775809", '"1e308"', '"NaN"', '"inf"', '"nan"', "[]", "{}"):
            for field in ("steps", "cfg_scale", "width", "denoising_strength", "n_iter", "eta", "priority", "subseed_strength"):
                raw = ('{"prompt": "x", "%s": %s}' % (field, number)).encode()
                self.refusal(raw)
        for number in ("NaN", "1e308", "1e309", "9" * 30, "0.5", '"1e308"', '"99999999999999999999"', "[1]"):
            self.refusal(('{"prompt": "x", "seed": %s}' % number).encode())
        self.assertEqual(len(self.server.get(V1 + "jobs?state=queued,running,done,failed").json["items"]), before)

    def test_nests(self):
        for raw in (b"[" * 100000, b'{"prompt":' * 100000, b'{"prompt": ' + b"[" * 2000 + b"]" * 2000 + b"}",
                    b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 5000000, b'{"prompt": "' + b"\\u0000" + b'"}',
                    b'{"prompt": "\xff\xfe"}', b'{"prompt": "\\ud800"}', b"\0{}", b"{}\0", b'\xef\xbb\xbf{"steps": "x"}',
                    b'{"prompt": "x"', b'{"prompt": "x"} {}', b"null", b"3", b'"text"', b"[]"):
            self.refusal(raw)

    def test_a_prompt_of_64_mb(self):
        """Refused, in bounded memory, while others are answered."""
        worst = [0]
        done = threading.Event()

        def poll():
            while not done.is_set():
                at = time.time()
                self.server.get("/sdapi/v1/progress")
                worst[0] = max(worst[0], time.time() - at)
                time.sleep(0.02)
        t = threading.Thread(target=poll)
        t.start()
        try:
            r = self.refusal(b'{"prompt": "' + b"x" * (64 << 20) + b'"}')
            self.assertIn("prompt", r.data.decode())
            self.refusal(b'{"init_images": ["' + b"A" * (64 << 20) + b'"], "prompt": "x"}')
            r = self.refusal(b'{"prompt": "x", "unknown": ' + b"[" + b"1," * (16 << 20) + b"1]}")
            self.assertIn("values", r.data.decode())
        finally:
            done.set()
            t.join()
        self.assertLess(worst[0], 10)  # parsing takes seconds, with a sanitizer on a machine that is busy
        with open("/proc/%d/status" % self.server.process.pid) as status:
            peak = [int(line.split()[1]) for line in status if line.startswith("VmHWM")][0]
        self.assertLess(peak, 4 << 20)  # KB

    def test_forms(self):
        head = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
        for kind, body in (("multipart/form-data", head), ("multipart/form-data; boundary=", head),
                           ("multipart/form-data; boundary=x", b""), ("multipart/form-data; boundary=x", head + b"a"),
                           ("multipart/form-data; boundary=x", (head + b"a\r\n") * 200 + b"--x--"),
                           ("multipart/form-data; boundary=" + "y" * 200, head), ("multipart/form-data; boundary=x", b"\0" * 1000),
                           ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--"),
                           ("multipart/form-data; boundary=x", head + b"\xff\xfe\r\n--x--")):
            r = self.server.post("/v1/images/edits", raw=body, headers={"Content-Type": kind})
            self.assertEqual(r.status, 400, (kind, body[:50], r.data[:200]))
            self.assertTrue(r.json["error"]["message"])

    def test_names_stay_within_their_folders(self):
        for name in ("../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "....//", "%00",
                     "x%00.png", "-1", "0%0a", "9" * 40):
            for path in (V1 + "jobs/" + name, V1 + "jobs/%s/image/0" % name, V1 + "jobs/x/image/" + name, "/" + name):
                r = self.server.get(path)
                self.assertIn(r.status, (404, 400), path)
                self.assertNotIn(b"root:", r.data)
        for name in ("../../../etc/passwd", "/etc/passwd", "\u0000", "x" * 5000, "%s%n%s", "$(id)", "`id`", "; ls", "| id"):
            for body in ({"override_settings": {"sd_model_checkpoint": name}}, {"sd_model_checkpoint": name}):
                path = V1 + "jobs" if "override_settings" in body else "/sdapi/v1/options"
                r = self.server.post(path, dict(SMALL, **body) if path == V1 + "jobs" else body)
                self.assertIn(r.status, (404, 422), (name, r.data[:200]))


class Sockets(Case):
    def connect(self, timeout=10):
        return socket.create_connection((self.server.host, self.server.port), timeout=timeout)

    def read(self, s):
        out = b""
        try:
            while True:
                piece = s.recv(65536)
                if not piece:
                    return out
                out += piece
        except OSError:
            return out

    def alive(self):
        start = time.time()
        self.assertEqual(self.server.get("/healthz", timeout=5).status, 200)
        self.assertLess(time.time() - start, 2)

    def test_half_open(self):
        """Who only says that nothing more comes, gets an answer; who is gone without a word, costs nothing."""
        with self.connect() as s:
            s.sendall(b"GET /sdapi/v1/options HTTP/1.1\r\nHost: localhost\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            self.assertTrue(self.read(s).startswith(b"HTTP/1.1 200 "))
        for piece in (b"", b"GET /sdapi", b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"):
            with self.connect() as s:
                s.sendall(piece)
                s.shutdown(socket.SHUT_WR)
                self.assertNotIn(b" 200 ", self.read(s)[:20])
        for _ in range(300):  # a reset in the middle of everything
            s = self.connect()
            s.sendall(b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self.alive()

    def test_many_that_stop_halfway(self):
        held = []
        for i in range(400):
            s = self.connect()
            s.sendall((b"", b"G", b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
                       b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")[i % 4])
            held.append(s)
        self.alive()
        job = self.server.until(self.server.add())
        self.assertEqual(job["state"], "done")
        for s in held:
            s.close()

    def test_large_bodies_that_rest_keep_nobody_out(self):
        """Five hold most of what bodies may take together, and send no more."""
        held = []
        for _ in range(5):
            s = self.connect()
            s.sendall(b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 48000000\r\n\r\n")
            try:
                s.sendall(b" " * 47000000)
            except OSError:
                pass
            held.append(s)
        self.assertEqual(self.server.until(self.server.add())["state"], "done")
        for s in held:
            s.close()

    def test_who_waits_for_the_device_keeps_nobody_else_waiting(self):
        long = self.server.add(steps=500, width=256, height=256)
        self.server.until(long, ("running",))
        calls = [("POST", "/sdapi/v1/unload-checkpoint", {})] * 6 + [
            ("GET", V1 + "plan/curve?points=20", None), ("POST", V1 + "plan", SMALL), ("GET", V1 + "residency", None)] * 4
        statuses = []

        def call(method, path, body):
            statuses.append(self.server.ask(method, path, body, timeout=300).status)
        threads = [threading.Thread(target=call, args=c) for c in calls]
        for t in threads:
            t.start()
        time.sleep(0.5)
        start = time.time()
        for path in ("/sdapi/v1/options", V1 + "history", "/v1/models"):
            self.assertEqual(self.server.get(path, timeout=10).status, 200)
        took = time.time() - start
        self.assertEqual(self.server.ask("DELETE", V1 + "jobs/" + long).status, 200)
        for t in threads:
            t.join()
        self.assertLess(took, 3)
        self.assertLessEqual(set(statuses), {200, 503}, statuses)

    def test_hidden_requests(self):
        """What one reader takes for a body must not be another one's request: one answer, or a refusal and a close."""
        inner = b"GET /sdapi/v1/cmd-flags HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = b"POST /sdapi/v1/interrupt HTTP/1.1\r\nHost: localhost\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n"
        length = b"Content-Length: %d\r\n" % len(inner)
        for name, data in {
                "both": head + length + chunked + b"\r\n0\r\n\r\n" + inner,
                "both, the other way": head + chunked + length + b"\r\n0\r\n\r\n" + inner,
                "two lengths": head + b"Content-Length: 0\r\n" + length + b"\r\n" + inner,
                "a list of lengths": head + b"Content-Length: 0, %d\r\n\r\n" % len(inner) + inner,
                "a sign": head + b"Content-Length: +0\r\n\r\n" + inner,
                "octal": head + b"Content-Length: 0x0\r\n\r\n" + inner,
                "a blank before the colon": head + b"Content-Length : %d\r\n\r\n" % len(inner) + inner,
                "a folded line": head + b"X: y\r\n Content-Length: %d\r\n\r\n" % len(inner) + inner,
                "chunked, twice": head + chunked + chunked + b"\r\n0\r\n\r\n" + inner,
                "chunked, and more": head + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
                "chunked, disguised": head + b"Transfer-Encoding: xchunked\r\n" + length + b"\r\n" + inner,
                "chunked, behind a tab": head + b"Transfer-Encoding:\tchunked\r\n" + length + b"\r\n0\r\n\r\n" + inner,
                "chunked, behind a vertical tab": head + b"Transfer-Encoding: \x0bchunked\r\n" + length + b"\r\n" + inner,
                "a line that ends with CR alone": head + b"X: y\rContent-Length: %d\r\n\r\n" % len(inner) + inner,
                "a zero in a name": head + b"Content-\0Length: %d\r\n\r\n" % len(inner) + inner,
                "a chunk's size with a sign": head + chunked + b"\r\n-1\r\n\r\n" + inner,
                "a chunk's size that wraps": head + chunked + b"\r\n10000000000000000\r\n\r\n" + inner}.items():
            with self.connect(4) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                out = self.read(s)
            self.assertNotIn(b"HTTP/1.1 200 ", out[1:] if out.startswith(b"HTTP/1.1 200 ") else out, name)
        self.alive()

    def test_pipelined_requests_keep_their_order(self):
        paths = b"/healthz", b"/nowhere", b"/sdapi/v1/progress", b"/v1/models", b"/sdapi/v1/options"
        with self.connect() as s:
            s.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % p for p in paths) +
                      b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            out = self.read(s)
        self.assertEqual([p[:3] for p in out.split(b"HTTP/1.1 ")[1:]], [b"200", b"404", b"200", b"200", b"200", b"404"])


class Passwords(unittest.TestCase):
    def test_hashes_are_not_queued_without_end(self):
        """Wrong passwords cost half a second each: more than a few at a time are put off, and who has a key does not wait."""
        with tempfile.TemporaryDirectory() as folder:
            users, keys = os.path.join(folder, "users"), os.path.join(folder, "keys")
            with open(users, "w") as f:
                f.write("ann:" + HASH + "\n")
            with open(keys, "w") as f:
                f.write("0123456789abcdef0123\n")
            server = Server("--auth", users, "--api-keys", keys)
            try:
                statuses, waits = [], []

                def guess(i):
                    login = base64.b64encode(b"ann:wrong%d" % i).decode()
                    r = server.get("/sdapi/v1/options", headers={"Authorization": "Basic " + login})
                    statuses.append(r.status)
                    waits.append(r.headers["Retry-After"])
                threads = [threading.Thread(target=guess, args=(i,)) for i in range(12)]
                for t in threads:
                    t.start()
                time.sleep(0.2)
                start = time.time()
                r = server.get("/healthz")
                self.assertEqual(r.status, 200)
                r = server.get("/sdapi/v1/options", headers={"Authorization": "Bearer 0123456789abcdef0123"})
                self.assertEqual(r.status, 200)
                took = time.time() - start
                for t in threads:
                    t.join()
                self.assertEqual(set(statuses), {401, 503}, statuses)
                self.assertTrue(all(w for s, w in zip(statuses, waits) if s == 503))
                self.assertLess(took, 1.5)
            finally:
                server.close()


if __name__ == "__main__":
    unittest.main()
