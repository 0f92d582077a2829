"""Server-sent events: what is told, in which order, and what those get who come back."""
import base64
import http.client
import json
import os
import shutil
import socket
import struct
import tempfile
import threading
import time
import unittest

from rig import Case, Server, with_sanitizer

DATA = os.path.join(os.path.dirname(__file__), "..", "data")


class Listener:
    """Reads a stream in a thread of its own."""
    def __init__(self, server, headers=None):
        self.c = http.client.HTTPConnection(server.host, server.port, timeout=60)
        self.c.request("GET", "/ballast/v1/events", headers=headers or {})
        self.socket = self.c.sock
        self.r = self.c.getresponse()
        self.events, self.comments = [], 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        fields = {}
        try:
            for line in iter(self.r.readline, b""):
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    key, _, value = line.partition(": ")
                    fields[key] = value
                elif fields:
                    if "event" in fields:
                        self.events.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
                    fields = {}
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    def wait(self, name, job, seconds=180):
        end = time.time() + seconds
        while time.time() < end:
            for event, data, id_ in list(self.events):
                if event == name and data.get("job") == job:
                    return data, id_
            time.sleep(0.02)
        raise AssertionError("no %s of %s in %s" % (name, job, [e[0] for e in self.events]))

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # the reader ends; close() would wait for it
        self.thread.join(5)


class Events(Case):
    def test_a_job_is_told(self):
        l = Listener(self.server)
        self.assertEqual(l.r.headers["Content-Type"], "text/event-stream")
        job = self.server.add(steps=24, width=128, height=128)
        done, id_ = l.wait("done", job)
        self.assertEqual((done["state"], len(done["images"])), ("done", 1))
        self.assertEqual(l.events[0][0], "queue")
        steps = [d for e, d, _ in l.events if e == "step" and d["job"] == job]
        self.assertTrue(steps and all(0 <= d["progress"] <= 1 for d in steps))
        self.assertTrue([d for e, d, _ in l.events if e == "preview" and d["job"] == job])
        self.assertIn(job, [d["running"] for e, d, _ in l.events if e == "queue"])
        ids = [int(i) for _, _, i in l.events if i]
        self.assertEqual(ids, sorted(ids))
        l.close()
        # Who was away gets what was missed, and no more.
        second = self.server.add()
        self.server.until(second)
        l = Listener(self.server, {"Last-Event-ID": id_})
        l.wait("done", second)
        self.assertNotIn(job, [d.get("job") for e, d, _ in l.events if e == "done"])
        l.close()

    @unittest.skipIf(with_sanitizer("tsan"), "computing is so slow that no placement is worth a hint")
    def test_a_hint_follows_its_job(self):
        self.server.post("/ballast/v1/settings", {"offload": "sequential"})
        try:
            l = Listener(self.server)
            job = self.server.add(steps=20)
            hint, _ = l.wait("hint", job)
            self.assertIn("--offload auto", hint["hint"]["text"])
            names = [e for e, d, _ in l.events if d.get("job") == job and e in ("done", "hint")]
            self.assertEqual(names, ["done", "hint"])
            l.close()
        finally:
            self.server.post("/ballast/v1/settings", {"offload": ""})

    def test_many_come_and_go(self):
        for _ in range(3):
            listeners = [Listener(self.server) for _ in range(40)]
            job = self.server.add()
            for l in listeners[:20]:
                l.close()
            for l in listeners[20:]:
                l.wait("done", job)
                l.close()
        self.assertEqual(self.server.get("/healthz").status, 200)


class Taesd(unittest.TestCase):
    """Previews by a folder of small decoders: whole where there is the family's, linear where there is none."""
    def preview_of(self, name, known):
        self.known = known
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(DATA, "common", "taesd", "decoder.safetensors"), os.path.join(folder, name))
            server = Server("--taesd", folder, "--preview", "taesd")
            try:
                l = Listener(server)
                job = server.add(steps=6, width=128, height=64)
                preview, _ = l.wait("preview", job)
                self.assertEqual(l.wait("done", job)[0]["state"], "done")
                l.close()
                planned = self.planned(server)
                self.drafts(server)
            finally:
                with open(server.data + ".log", errors="replace") as log:
                    said = log.read()
                server.close()
            return struct.unpack(">II", base64.b64decode(preview["image"])[16:24]), said, planned

    def planned(self, server):
        """Previews that plans of the same picture have, on the device and beside it."""
        phases = []
        for budget in ({}, {"budget": "2G"}):
            answer = server.post("/ballast/v1/plan", dict(prompt="a cat", steps=6, width=128, height=64, **budget))
            phases.append([phase["name"] for phase in answer.json["phases"]])
        self.assertEqual(phases[0], phases[1])
        return phases[0].count("preview")

    def drafts(self, server):
        """The decoder that a request asks for, by our field and by A1111's setting; ours counts first."""
        small, full = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64}, {"sd_vae_decode_method": "Full"}
        draft = {"override_settings": {"sd_vae_decode_method": "TAESD"}}
        for wish, taesd in ((dict(decode="taesd"), True), (draft, True), (dict(draft, decode="vae"), False),
                            (dict(decode="taesd", override_settings=full), True), ({}, False)):
            answer = server.post("/sdapi/v1/txt2img", dict(small, **wish))
            if self.known:
                self.assertEqual("VAE Decoder: TAESD" in answer.json["info"], taesd, wish)
            else:
                self.assertEqual(answer.status, 422 if taesd else 200, wish)
        if self.known:
            self.kept(server, small)

    def kept(self, server, small):
        """The setting holds for requests that say nothing, as long as there is a decoder."""
        self.assertEqual(server.post("/sdapi/v1/options", {"sd_vae_decode_method": "TAESD"}).status, 200)
        self.assertIn("VAE Decoder: TAESD", server.post("/sdapi/v1/txt2img", small).json["info"])
        server.stop()
        server.flags = []
        server.start()
        self.assertEqual(server.get("/sdapi/v1/options").json["sd_vae_decode_method"], "Full")
        self.assertNotIn("TAESD", server.post("/sdapi/v1/txt2img", small).json["info"])

    def test_of_its_family(self):
        size, said, planned = self.preview_of("taesd_decoder.safetensors", True)
        self.assertEqual(size, (128, 64))
        self.assertEqual(planned, 5)
        self.assertNotIn("taesd:", said)

    def test_of_another(self):
        size, said, planned = self.preview_of("taesdxl_decoder.safetensors", False)
        self.assertEqual(size, (16, 8))
        self.assertEqual(planned, 0)
        self.assertIn("holds none for SD 1.x", said)


if __name__ == "__main__":
    unittest.main()
