"""/v1 as OpenAI's SDKs and those who speak like them need it."""
import json
import threading
import unittest

from rig import SMALL, Case, b64, picture, png, png_size, with_sanitizer

V1 = "/v1/images/"
BODY = {"prompt": "a panda", "size": "64x64", "steps": 2, "seed": 5}


def form(**parts):
    """(body, headers) of multipart/form-data; bytes are files."""
    out = b""
    for name, value in parts.items():
        for one in value if isinstance(value, list) else [value]:
            head = 'Content-Disposition: form-data; name="%s"' % name.replace("_list", "[]")
            if isinstance(one, bytes):
                head += '; filename="../../x;\\".png"\r\nContent-Type: image/png'
            out += b"--XyZ\r\n" + head.encode() + b"\r\n\r\n" + (one if isinstance(one, bytes) else str(one).encode()) + b"\r\n"
    return out + b"--XyZ--\r\n", {"Content-Type": "multipart/form-data; boundary=XyZ"}


def events(data):
    """[(event, data)] of a stream."""
    out = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            out.append((fields.get("event"), json.loads(fields["data"])))
    return out


class OpenAI(Case):
    def wrong(self, reply, param):
        self.assertEqual(reply.status, 400, reply.data[:300])
        error = reply.json["error"]
        self.assertEqual(error["param"], param)
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        return error["message"]

    def edit(self, **parts):
        body, headers = form(**dict(dict(prompt="a tiger", size="64x64", steps=2, strength=0.6), **parts))
        return self.server.post(V1 + "edits", raw=body, headers=headers)

    def test_generate(self):
        ids = [m["id"] for m in self.ok(self.server.get("/v1/models"))["data"]]
        for model in ids + ["gpt-image-1", "", None]:
            body = self.ok(self.server.post(V1 + "generations", dict(BODY, n=2, model=model, quality="high", user="u")))
            self.assertEqual([png_size(picture(d["b64_json"])) for d in body["data"]], [(64, 64)] * 2)
            self.assertNotIn("url", body["data"][0])
            self.assertIsInstance(body["created"], int)
            self.assertRegex(body["ballast"]["line"], "^Time")

    def test_forms_of_pictures(self):
        for form_, magic in (("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF"), ("png", b"\x89PNG")):
            body = self.ok(self.server.post(V1 + "generations", dict(BODY, output_format=form_, output_compression=80)))
            self.assertEqual(picture(body["data"][0]["b64_json"])[:len(magic)], magic)
            self.assertEqual(body["output_format"], form_)
        url = self.ok(self.server.post(V1 + "generations", dict(BODY, response_format="url")))["data"][0]["url"]
        self.assertTrue(url.startswith("http://127.0.0.1:%d/ballast/v1/jobs/" % self.server.port))
        self.assertEqual(png_size(self.server.get(url[url.index("/ballast"):]).data), (64, 64))

    def test_what_is_wrong_is_named(self):
        for field, value in (("size", "banana"), ("size", "64"), ("size", "0x64"), ("size", "99999x99999"), ("n", 11), ("n", "x"),
                             ("steps", 0), ("output_format", "gif"), ("response_format", "file"), ("prompt", ""),
                             ("prompt", None), ("partial_images", 4)):
            self.assertIn(field, self.wrong(self.server.post(V1 + "generations", dict(BODY, **{field: value})), field))
        self.assertEqual(self.server.post(V1 + "generations", raw=b"{").status, 400)
        r = self.server.get("/v1/files")
        self.assertEqual((r.status, r.json["error"]["message"]), (404, "Not Found"))

    def test_edit(self):
        body = self.ok(self.edit(image=png(64, 64)))
        self.assertEqual(png_size(picture(body["data"][0]["b64_json"])), (64, 64))
        self.ok(self.edit(image_list=png(64, 64), model="", size="auto"))
        self.assertIn("one picture", self.wrong(self.edit(image_list=[png(8, 8), png(8, 8)]), "image"))
        self.wrong(self.edit(), "image")
        self.wrong(self.edit(image=b"no picture"), "image")
        self.wrong(self.edit(image=png(64, 64), mask=png(64, 64)), "mask")
        self.wrong(self.edit(image=png(64, 64), n="many"), "n")

    def test_forms_as_they_are_written(self):
        """What is quoted may hold anything, names stand in any case and order, and what comes last counts."""
        one = "form-data; name=\"image\"; filename=\"a.png\""
        for head in (one, one.upper().replace("IMAGE", "image"), "form-data;filename=a.png;name=image",
                     "form-data; filename=\"x; name=mask; y\"; name=\"image\"",
                     "form-data; name=\"image\"; filename=\"a\\\"; name=\\\"mask.png\"", "form-data; name=\"image[]\"; filename=\"\"",
                     "form-data; name=\"image\"; filename*=UTF-8''%e6%bc%a2.png", "form-data; name=\"image\"\r\nContent-Type: image/png"):
            parts = [("form-data; name=\"prompt\"", b"first")] + [("form-data; name=\"%s\"" % k, v) for k, v in (
                ("prompt", b"last"), ("steps", b"1"), ("size", b"64x64"), ("filename", b"x"))] + [(head, png(64, 64))]
            body = b"".join(b"--XyZ\r\ncontent-disposition: %s\r\n\r\n%s\r\n" % (h.encode(), v) for h, v in parts)
            r = self.server.post(V1 + "edits", raw=body + b"--XyZ--\r\n",
                                 headers={"Content-Type": "multipart/form-data; boundary=\"XyZ\"; charset=utf-8"})
            job = self.ok(r)["ballast"]["job"]
            self.assertEqual(self.server.get("/ballast/v1/jobs/" + job).json["request"]["prompt"], "last", head)
        self.assertIn("no text", self.wrong(self.edit(image=png(8, 8), prompt="a\0b"), "prompt"))

    def test_what_nobody_gave(self):
        """The file's word; A1111's own numbers for those who speak its API."""
        (model,) = self.server.get("/ballast/v1/lists").json["models"]
        wanted = model["recommended"]
        self.assertIsNone(wanted.pop("sampler"))
        self.assertIsNone(wanted.pop("guidance"))
        self.assertEqual(wanted["cfg"], 5)

        def request(job):
            view = self.server.get("/ballast/v1/jobs/" + job).json["request"]
            return {"steps": view["steps"], "cfg": view["cfg"]}
        small = {"prompt": "a fox", "width": 64, "height": 64}
        job = self.ok(self.server.post(V1 + "generations", {"prompt": "a fox", "size": "65x64"}))["ballast"]
        self.assertEqual(request(job["job"]), wanted)
        self.assertIn("width: 65", job["warnings"][0])
        start = dict(small, init_images=[b64(png(64, 64))], steps=2)
        for body, view in ((dict(small, steps=None), wanted), (start, {"steps": 2, "cfg": 5})):
            job = self.ok(self.server.post("/ballast/v1/jobs", body), 202)["id"]
            self.assertEqual(request(job), view)
            self.server.until(job)  # what a picture measures changes the plans after it
        for _ in range(20):  # the last picture's measurements may still come
            plans = [self.ok(self.server.post("/ballast/v1/plan", dict(small, **more))) for more in ({}, wanted, {"steps": 3}, {})]
            if plans[0]["seconds"] == plans[3]["seconds"]:
                break
        self.assertEqual([p["seconds"] == plans[0]["seconds"] for p in plans], [True, True, False, True])
        self.assertEqual(request(self.ok(self.server.post("/sdapi/v1/txt2img", small))["ballast"]["job"]), {"steps": 50, "cfg": 7})

    def test_forms_that_are_none(self):
        whole, headers = form(prompt="x", image=png(8, 8))
        for body, kind in ((whole[:40], None), (whole[:-20], None), (b"", None), (b"--XyZ--\r\n", None), (whole, "multipart/form-data"),
                           (whole, "multipart/form-data; boundary=Other"), (b"--XyZ\r\n\r\n\r\n--XyZ--\r\n", None),
                           (b"--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--XyZ--\r\n", None),
                           ((b"--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n") * 100 + b"--XyZ--\r\n", None)):
            r = self.server.post(V1 + "edits", raw=body, headers={"Content-Type": kind} if kind else headers)
            self.assertEqual(r.status, 400, (body[:60], r.data[:200]))

    def test_streams(self):
        for partials in (0, 1, 3):
            r = self.server.post(V1 + "generations", dict(BODY, stream=True, partial_images=partials, steps=20))
            self.assertEqual((r.status, r.headers["Content-Type"]), (200, "text/event-stream"))
            got = events(r.data)
            self.assertEqual(got[-1][0], "image_generation.completed")
            self.assertEqual(png_size(picture(got[-1][1]["b64_json"])), (64, 64))
            self.assertIn("total_tokens", got[-1][1]["usage"])
            middle = got[:-1]
            self.assertEqual([e for e, _ in middle], ["image_generation.partial_image"] * len(middle))
            self.assertEqual([d["partial_image_index"] for _, d in middle], list(range(len(middle))))
            self.assertTrue(min(partials, 1) <= len(middle) <= partials, len(middle))
        body, headers = form(prompt="x", size="64x64", steps=4, stream="true", partial_images="1", image=png(64, 64))
        got = events(self.server.post(V1 + "edits", raw=body, headers=headers).data)
        self.assertEqual(got[-1][0], "image_edit.completed")

    def test_a_retry_joins_the_job_in_hand(self):
        def jobs():
            return len(self.server.get("/ballast/v1/jobs?state=queued,running,done,failed,cancelled").json["items"])
        body, replies = dict(BODY, prompt="joined", steps=20 if with_sanitizer("asan") else 60, size="128x128"), []
        before = jobs()
        threads = []
        for count in ("0", "1", "2"):
            t = threading.Thread(target=lambda c=count: replies.append(self.server.post(
                V1 + "generations", body, headers={"x-stainless-retry-count": c})))
            t.start()
            threads.append(t)
            threading.Event().wait(0.3)
        for t in threads:
            t.join(60)
        self.assertEqual([r.status for r in replies], [200] * 3)
        self.assertEqual(len({r.json["ballast"]["job"] for r in replies}), 1)
        self.assertEqual(jobs(), before + 1)
        self.ok(self.server.post(V1 + "generations", dict(body, steps=2), headers={"x-stainless-retry-count": "1"}))
        self.assertEqual(jobs(), before + 2)


if __name__ == "__main__":
    unittest.main()
