"""A server that is really started, with the embedded model, and small helpers to speak to it. Python's standard library
only. The program is $BALLAST_TEST_PROGRAM, the models' folder $BALLAST_TEST_MODELS."""
import base64
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = os.environ.get("BALLAST_TEST_PROGRAM", "build/bin/ballast")
GATED = os.environ.get("BALLAST_TEST_GATED", PROGRAM + "_gated")
MODELS = os.environ.get("BALLAST_TEST_MODELS", "models")
SMALL = {"prompt": "a panda", "steps": 2, "width": 64, "height": 64, "seed": 1}


def need_clients(*names):
    """Modules that tools/clients.sh has put into the user's cache: found, or the test ends with a line that says so."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "ballast-clients", "%d.%d" % sys.version_info[:2])
    sys.path.insert(0, folder)
    missing = [name for name in names if not importlib.util.find_spec(name)]
    if missing:
        sys.exit("FAILED: %s is not in %s: run tools/clients.sh" % (" and ".join(missing), folder))
    return folder


def with_sanitizer(*names):
    """Is the program built with one of these, "asan" or "tsan"? Computing is slower by far then, and waiting is not."""
    with open(PROGRAM, "rb") as program:
        code = program.read()
    return any(b"lib" + name.encode() in code for name in names)


class Reply:
    def __init__(self, status, headers, data):
        self.status, self.headers, self.data = status, headers, data

    @property
    def json(self):
        return json.loads(self.data)


class Server:
    def __init__(self, *flags, data=None, models=None, env=None, gated=False):
        """`gated`: its pictures wait where `close_gate` says."""
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix="ballast-server-")
        self.flags, self.models = list(flags), models or MODELS
        self.gate = self.data + ".gate"
        self.program = GATED if gated else PROGRAM
        self.env = dict(os.environ, OMP_WAIT_POLICY="passive", BALLAST_TEST_GATE=self.gate, **(env or {}))
        self.port = 0
        self.start()

    def start(self):
        listen = [] if "--listen" in self.flags else ["--listen", "127.0.0.1:%d" % self.port]
        self.log = open(os.path.join(self.data + ".log"), "ab")
        self.process = subprocess.Popen([self.program, "serve", "--models", self.models, "--data", self.data, *listen, *self.flags],
                                        stdout=subprocess.PIPE, stderr=self.log, env=self.env)
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError("the server did not start: " + open(self.data + ".log").read()[-2000:])
        self.host, _, port = line.split("//")[1].rpartition(":")
        self.host, self.port = self.host.strip("[]"), int(port)

    def close_gate(self, image=0, step=0):
        """Denoising goes no further than to this step, counted from 1, of this picture."""
        with open(self.gate + ".part", "w") as file:
            file.write("%d %d" % (image, step))
        os.rename(self.gate + ".part", self.gate)

    def open_gate(self):
        if os.path.exists(self.gate):
            os.unlink(self.gate)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.ended()

    def stop(self, wait=60):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(wait)
        self.ended()
        return code

    def ended(self):
        """What a sanitizer said is a failure, and so is an end that nobody asked for."""
        self.process.stdout.close()
        self.log.close()
        with open(self.data + ".log", errors="replace") as log:
            said = log.read()
        at = re.search(r"Sanitizer|runtime error:", said)
        if at:
            raise AssertionError("the server said:\n" + said[max(0, at.start() - 200):at.start() + 6000])
        if self.process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError("the server ended with %d:\n%s" % (self.process.returncode, said[-2000:]))

    def close(self):
        self.open_gate()
        try:
            if self.process.poll() is None:
                self.stop()
            elif not self.log.closed:
                self.ended()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server does not end")
        finally:
            os.unlink(self.data + ".log")
            if self.own:
                shutil.rmtree(self.data, ignore_errors=True)

    def ask(self, method, path, body=None, headers=None, raw=None, timeout=120):
        """Reply. `body` goes as JSON, `raw` as it is."""
        c = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        headers = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            c.request(method, path, data, headers)
            r = c.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            c.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.ask("POST", path, body, **more)

    def add(self, **more):
        """Queues a job; its id."""
        r = self.post("/ballast/v1/jobs", dict(SMALL, **more))
        assert r.status == 202, (r.status, r.data)
        return r.json["id"]

    def until(self, job, states=("done", "failed", "cancelled"), seconds=120):
        end = time.time() + seconds
        while time.time() < end:
            view = self.get("/ballast/v1/jobs/" + job).json
            if view["state"] in states:
                return view
            time.sleep(0.05)
        raise AssertionError("job %s is still %s" % (job, view["state"]))


def drip(server, leave):
    """Sends a header a byte every half second, until the server has enough of it or `leave` is set. The seconds."""
    start = time.time()
    with socket.create_connection((server.host, server.port), timeout=40) as s:
        try:
            for c in "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + "a" * 100:
                s.sendall(c.encode())
                if leave.wait(0.5):
                    break
                s.settimeout(0.01)
                try:
                    if not s.recv(1):
                        break
                except socket.timeout:
                    pass
        except (BrokenPipeError, ConnectionResetError):
            pass
    return time.time() - start


def png(width, height, colour=(200, 30, 30), right=None):
    """A PNG of one colour, or of two by quarters."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    half = width // 2 if right else 0
    upper = b"\0" + bytes(colour) * (width - half) + bytes(right or ()) * half
    lower = b"\0" + bytes(right or colour) * (width - half) + bytes(colour) * half
    rows = upper * (height - height // 2) + lower * (height // 2)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def b64(data):
    return base64.b64encode(data).decode()


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:16]
    return struct.unpack(">II", data[16:24])


def pixels(data):
    """The rows of a PNG, as they were filtered."""
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + n] if kind == b"IDAT" else b""
        at += n + 12
    return zlib.decompress(packed)


def picture(text):
    """The bytes of a picture in an answer."""
    assert not text.startswith("data:")
    return base64.b64decode(text, validate=True)


class Case(unittest.TestCase):
    """Tests of one class share a server, started with `flags`."""
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def ok(self, reply, status=200):
        self.assertEqual(reply.status, status, reply.data[:500])
        return reply.json

    def refused(self, reply, field, status=422):
        self.assertEqual(reply.status, status, reply.data[:500])
        self.assertIn(field, reply.json["detail"][0]["loc"])
        return reply.json["detail"][0]["msg"]
