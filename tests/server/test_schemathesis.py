"""Requests that schemathesis makes up from /openapi.json, bodies, queries and headers that no client sends: no answer
is a 5xx, and the server lives. BALLAST_TEST_EXAMPLES: how many for each route (default 4)."""
import os
import subprocess
import sys
import tempfile
import unittest

from rig import Case, need_clients

if sys.version_info < (3, 11):
    print("schemathesis needs Python 3.11")
    sys.exit(77)  # ctest: skipped
FOLDER = need_clients("schemathesis")
EXAMPLES = os.environ.get("BALLAST_TEST_EXAMPLES", "4")


class Schemathesis(Case):
    flags = ("--max-steps", "2", "--max-pixels", "16384", "--max-images", "2", "--max-queue", "50")

    def test_no_answer_is_a_failure_of_ours(self):
        url = "http://%s:%d" % (self.server.host, self.server.port)
        with tempfile.TemporaryDirectory() as folder:
            r = subprocess.run(
                [sys.executable, "-B", os.path.join(FOLDER, "bin/st"), "run", url + "/openapi.json", "--checks",
                 "not_a_server_error", "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--mode", "all",
                 "--exclude-path", "/ballast/v1/events", "--request-timeout", "60", "--seed", "1", "--no-color",
                 "--generation-database", "none", "--suppress-health-check", "all"],
                env=dict(os.environ, PYTHONPATH=FOLDER), cwd=folder, capture_output=True, text=True, timeout=500)
        self.assertEqual(r.returncode, 0, r.stdout[-6000:] + r.stderr[-2000:])
        print("\n".join(r.stdout.splitlines()[-12:]))
        self.assertEqual(self.server.get("/healthz").status, 200)


if __name__ == "__main__":
    unittest.main()
