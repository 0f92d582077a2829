#!/usr/bin/env python3
"""What the server's callers cost a generation beside them: `make bench-server`, two minutes and a half.

    server.py BIN [PAIRS]          BIN holds ballast and bench_load

A picture of the embedded model is made again and again, in turn alone and beside 10,000 idle connections and 200
callers who ask for the status ten times a second each. All runs on this machine, so the callers' own work slows the
picture too; how much of the cores server and callers took stands beside it. Then 1,000 jobs are queued and listed. A
machine that does something else meanwhile measures that."""
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "server"))
import rig  # noqa: E402

IDLE, POLLERS, HZ = 10000, 200, 10
STATUS = "/sdapi/v1/progress?skip_current_image=true"
SECONDS = 6  # of a generation


def cpu_of(pid):
    """Seconds of each of its threads, by id."""
    found = {}
    for name in os.listdir("/proc/%d/task" % pid):
        try:
            found[name] = int(Path("/proc/%d/task/%s/schedstat" % (pid, name)).read_text().split()[0]) / 1e9
        except OSError:  # it has ended
            pass
    return found


class Load:
    def __init__(self, folder, server):
        self.process = subprocess.Popen([folder / "bench_load", str(server.port), str(IDLE), str(POLLERS), str(HZ), STATUS],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit("the callers could not connect: the limit of open files has to be above %d" % (IDLE + 400))

    def end(self):
        out, _ = self.process.communicate("")
        return json.loads(out)


def generate(server, steps):
    """Seconds of the job's work."""
    job = server.until(server.add(steps=steps, width=128, height=128), seconds=300)
    if job["state"] != "done":
        raise SystemExit("the job failed: %s" % job["error"])
    return job["ended"] - job["started"]


def beside(server, folder, pairs):
    generate(server, 20)
    steps = min(500, max(10, int(100 * SECONDS / generate(server, 100))))
    alone, with_load, cpu, loads = [], [], [], []
    for _ in range(pairs):
        alone.append(generate(server, steps))
        load = Load(folder, server)
        before = cpu_of(server.process.pid)
        with_load.append(generate(server, steps))
        after = cpu_of(server.process.pid)
        loads.append(load.end())
        cpu.append(sorted(after[t] - before.get(t, 0) for t in after))
    cores = os.cpu_count()
    # The threads that compute took most; the others served.
    served = sum(sum(c[:-cores]) for c in cpu) / sum(with_load)
    asked = sum(l["cpu"] for l in loads) / sum(with_load)
    slower = [b / a - 1 for a, b in zip(alone, with_load)]
    answers = sum(l["answers"] for l in loads)
    print("| %d idle connections, %d callers at %d Hz | |" % (IDLE, POLLERS, HZ))
    print("| --- | --- |")
    print("| generation alone, median of %d | %.2f s |" % (pairs, statistics.median(alone)))
    print("| beside them | %.2f s |" % statistics.median(with_load))
    print("| slower, median of pairs (bar: 3%%) | %.1f%% (%s) |" % (
        100 * statistics.median(slower), ", ".join("%.1f" % (100 * s) for s in slower)))
    print("| of %d cores the server took beside computing | %.1f%% |" % (cores, 100 * served / cores))
    print("| of %d cores the callers took themselves | %.1f%% |" % (cores, 100 * asked / cores))
    print("| answers a second | %.0f |" % (answers / sum(with_load)))
    print("| status: p50, worst pair | %.2f ms |" % max(l["p50"] for l in loads))
    print("| status: p99, worst pair (bar: 20 ms) | %.2f ms |" % max(l["p99"] for l in loads))
    print("| status: slowest answer | %.1f ms |" % max(l["worst"] for l in loads))
    print("| connections lost, answers that were not 200 | %d, %d |" % (
        sum(l["lost"] for l in loads), sum(l["not_200"] for l in loads)))


def listed(server):
    server.add(steps=500, width=512, height=512)  # in work, so that the others wait
    c = http.client.HTTPConnection(server.host, server.port)

    def ask(method, path, body=None):
        c.request(method, path, body)
        return c.getresponse().read()
    start = time.time()
    for i in range(1000):
        ask("POST", "/ballast/v1/jobs", json.dumps(dict(rig.SMALL, seed=i)))
    queued = time.time() - start
    times = []
    for _ in range(21):
        start = time.time()
        data = ask("GET", "/ballast/v1/jobs")
        times.append(time.time() - start)
        assert len(json.loads(data)["items"]) > 1000
    print("| 1,000 jobs queued, each acknowledged | %.2f s |" % queued)
    print("| listed, median while a picture is made (bar: 50 ms) | %.1f ms |" % (1e3 * statistics.median(times)))
    print("| listed, slowest of %d | %.1f ms |" % (len(times), 1e3 * max(times)))


def main():
    folder = Path(sys.argv[1])
    rig.PROGRAM = str(folder / "ballast")
    rig.MODELS = str(Path(__file__).parent.parent / "models")
    server = rig.Server("--max-queue", "2000", "--max-pixels", "1048576")
    try:
        beside(server, folder, int(sys.argv[2]) if len(sys.argv) > 2 else 8)
        listed(server)
    finally:
        server.kill()
        server.close()


if __name__ == "__main__":
    main()
