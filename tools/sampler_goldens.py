#!/usr/bin/env python3
"""sampler_goldens.py OUT: ends of walks by samplers and schedules that are not in the other goldens. Needs numpy.

Written in float64 from the papers' formulas and from what k-diffusion, latent diffusion and A1111 document of theirs, apart
from the library's code: slopes and exponentials as they stand there, integrals by the sum of many small pieces. The toys are
those of samplers.safetensors (tests/data/README.md): TOY.SAMPLER.SCHEDULE.nSTEPS is x at the end, from unit_noise times the
first sigma, with `noise` drawn in order."""
import json
import math
import struct
import sys

import numpy as np

ac = np.cumprod(1 - np.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000) ** 2)
sig = np.sqrt((1 - ac) / ac)


def at(t):
    low, high = int(math.floor(t)), int(math.ceil(t))
    w = t - low
    return math.exp((1 - w) * math.log(sig[low]) + w * math.log(sig[high]))


def gauss(x, s):
    return x / (s * s + 1)


def mix(x, s):
    v = s * s + 0.25
    return (0.25 * x + s * s * np.tanh(x / v)) / v


# ---- lists, without the 0 at their end


def normal(n):
    return [at(t) for t in np.linspace(999, 0, n)]


def karras(n, low=sig[0], high=sig[-1]):
    ramp = np.linspace(0, 1, n)
    return list((high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7)


def polyexponential(n):
    ramp = np.linspace(1, 0, n) ** 1.0
    return list(np.exp(ramp * (math.log(sig[-1]) - math.log(sig[0])) + math.log(sig[0])))


def kl_optimal(n):
    k = np.arange(n)
    return list(np.tan(k / n * math.atan(sig[0]) + (1 - k / n) * math.atan(sig[-1])))


def align_your_steps(n):
    known = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
    if n == len(known):
        return known
    logs = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(known)), np.log(known[::-1]))
    return list(np.exp(logs)[::-1])


def turbo(n):
    steps = [round(k * 1000 / n - 1) for k in range(n, 0, -1)]
    return [float(sig[t]) for t in steps]


# ---- samplers


def euler(D, x, s, noise):
    for a, b in zip(s, s[1:]):
        x = x + (x - D(x, a)) / a * (b - a)
    return x


def lms(D, x, s, noise):
    slopes = []
    for i, (a, b) in enumerate(zip(s, s[1:])):
        slopes.insert(0, (x - D(x, a)) / a)
        slopes = slopes[:4]
        nodes = [s[i - k] for k in range(len(slopes))]
        points = (np.arange(200000) + 0.5) / 200000 * (b - a) + a
        for k, d in enumerate(slopes):
            basis = np.ones_like(points)
            for j, node in enumerate(nodes):
                if j != k:
                    basis *= (points - node) / (nodes[k] - node)
            x = x + d * basis.sum() * (b - a) / 200000
    return x


def dpm_fast(D, x, s, noise):
    """s: its first and its last above 0 count; as many evaluations as steps; eta 1."""
    n, low, high = len(s) - 1, s[-2], s[0]
    m = n // 3 + 1
    orders = [3] * (m - 2) + [2, 1] if n % 3 == 0 else [3] * (m - 1) + [n % 3]
    ts = np.linspace(-math.log(high), -math.log(low), m + 1)

    def eps(x, t):
        return (x - D(x, math.exp(-t))) / math.exp(-t)

    for i, order in enumerate(orders):
        t, goal = ts[i], ts[i + 1]
        a, b = math.exp(-t), math.exp(-goal)
        up = min(b, math.sqrt(max(b * b * (a * a - b * b), 0) / (a * a)))
        down = math.sqrt(b * b - up * up)
        to = min(ts[-1], -math.log(down)) if down > 0 else ts[-1]
        up = math.sqrt(max(b * b - math.exp(-2 * to), 0))
        h, e = to - t, eps(x, t)
        if order == 1:
            y = x - math.exp(-to) * math.expm1(h) * e
        elif order == 2:
            s1 = t + h / 2
            e1 = eps(x - math.exp(-s1) * math.expm1(h / 2) * e, s1)
            y = x - math.exp(-to) * math.expm1(h) * e - math.exp(-to) * math.expm1(h) * (e1 - e)
        else:
            s1, s2 = t + h / 3, t + 2 * h / 3
            e1 = eps(x - math.exp(-s1) * math.expm1(h / 3) * e, s1)
            u = x - math.exp(-s2) * math.expm1(2 * h / 3) * e
            u = u - math.exp(-s2) * 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1) * (e1 - e)
            e2 = eps(u, s2)
            y = x - math.exp(-to) * math.expm1(h) * e - math.exp(-to) * 1.5 * (math.expm1(h) / h - 1) * (e2 - e)
        x = y + (up * next(noise) if i + 1 < len(orders) else 0)
    return x


def dpm_adaptive(D, x, s, noise, eta=1.0):
    """s: its first and its last above 0 count. Pairs of the second and the third order; k-diffusion's tolerances."""
    begin, end, h, before = -math.log(s[0]), -math.log(s[-2]), 0.05, x
    order = 1.5 if eta else 3

    def eps(x, t):
        return (x - D(x, math.exp(-t))) / math.exp(-t)

    while begin < end - 1e-5:
        goal = min(end, begin + h)
        a, b = math.exp(-begin), math.exp(-goal)
        up = min(b, eta * math.sqrt(b * b * (a * a - b * b) / (a * a)))
        to = min(end, -math.log(math.sqrt(b * b - up * up))) if eta else goal
        w, c = to - begin, math.exp(-to)
        s1, s2 = begin + w / 3, begin + 2 * w / 3
        e = eps(x, begin)
        e1 = eps(x - math.exp(-s1) * math.expm1(w / 3) * e, s1)
        low = x - c * math.expm1(w) * e - c / (2 / 3) * math.expm1(w) * (e1 - e)
        u = x - math.exp(-s2) * math.expm1(2 * w / 3) * e
        e2 = eps(u - math.exp(-s2) * 2 * (math.expm1(2 * w / 3) / (2 * w / 3) - 1) * (e1 - e), s2)
        high = x - c * math.expm1(w) * e - c * 1.5 * (math.expm1(w) / w - 1) * (e2 - e)
        allowed = np.maximum(0.0078, 0.05 * np.maximum(abs(low), abs(before)))
        error = math.sqrt(np.mean(((low - high) / allowed) ** 2))
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / order) - 1)
        h *= factor
        if factor >= 0.81:
            before, x, begin = low, high, goal
            left = math.exp(-2 * goal) - math.exp(-2 * to)
            x = x + math.sqrt(left) * next(noise) if left > 0 else x
    return x


def restart(D, x, s, noise):
    n = len(s) - 1
    steps = []
    back, times = (n // 4, 2) if n >= 36 else (9, 1) if n >= 20 else (0, 0)
    if back:
        s = karras(n - back * times, s[-2], s[0]) + [0.0]
    near = [min(range(len(s) - 1), key=lambda i: abs(s[i] - v)) for v in (0.1, 2.0)]
    for i in range(len(s) - 1):
        steps.append((s[i], s[i + 1]))
        if back and i + 1 == near[0] and near[1] < near[0]:
            again = karras(back + 1, s[near[0]], s[near[1]])
            steps += list(zip(again, again[1:])) * times
    last = s[0]
    for a, b in steps:
        if a > last:
            x = x + next(noise) * math.sqrt(a * a - last * last)
        d = (x - D(x, a)) / a
        if b:
            y = x + d * (b - a)
            d = (d + (y - D(y, b)) / b) / 2
        x, last = x + d * (b - a), b
    return x


def tcd(D, x, s, noise):
    """gamma 0.3, in variance-preserving space."""
    for i, (a, b) in enumerate(zip(s, s[1:])):
        d = D(x, a)
        if not b:
            return d
        t = np.interp(math.log(b), np.log(sig), np.arange(1000))
        ab = 1 / (1 + b * b)
        ak = max(ac[int(0.7 * t)], ab)          # a list may end below the lowest timestep
        eps = (x - d) / a
        y = math.sqrt(ak) * d + math.sqrt(1 - ak) * eps
        y = math.sqrt(ab / ak) * y + (math.sqrt(1 - ab / ak) * next(noise) if ak > ab else 0)
        x = y / math.sqrt(ab)
    return x


def plms(D, x, n, noise):
    """Latent diffusion's, over A1111's timesteps: x is in variance-preserving space, from timestep to timestep."""
    stride = 1000 // n
    ts = list(range(1, 1000, stride))
    a = ac[ts]
    before = np.append(ac[0], a[:-1])
    before[0] = ac[0]
    y, old = x / math.sqrt(sig[ts[-1]] ** 2 + 1), []

    def eps(y, t):
        x = y * math.sqrt(sig[t] ** 2 + 1)
        return (x - D(x, sig[t])) / sig[t]

    def go(y, e, i):
        p = ac[ts[i - 1]]
        x0 = (y - math.sqrt(1 - a[i]) * e) / math.sqrt(a[i])
        return math.sqrt(p) * x0 + math.sqrt(1 - p) * e

    for i in range(len(ts) - 1, 0, -1):
        e = eps(y, ts[i])
        if len(old) == 0:
            e2 = (e + eps(go(y, e, i), ts[i - 1])) / 2
        elif len(old) == 1:
            e2 = (3 * e - old[-1]) / 2
        elif len(old) == 2:
            e2 = (23 * e - 16 * old[-1] + 5 * old[-2]) / 12
        else:
            e2 = (55 * e - 59 * old[-1] + 37 * old[-2] - 9 * old[-3]) / 24
        old.append(e)
        y = go(y, e2, i)
    return y


def save(path, tensors):
    header, at, blobs = {}, 0, []
    for k, v in tensors.items():
        raw = np.ascontiguousarray(v, np.float32)
        header[k] = {"dtype": "F32", "shape": list(raw.shape), "data_offsets": [at, at + raw.nbytes]}
        at += raw.nbytes
        blobs.append(raw.tobytes())
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def main(path):
    draw = np.random.default_rng(5)
    unit, noise = draw.standard_normal(64).astype(np.float32), draw.standard_normal((128, 64)).astype(np.float32)
    out = {"unit_noise": unit, "noise": noise}
    lists = {f.__name__: f for f in (normal, karras, polyexponential, kl_optimal, align_your_steps, turbo)}
    for toy in (gauss, mix):
        for name, make in lists.items():
            for sampler in (euler, lms, dpm_fast, tcd, restart):
                if sampler is euler and name in ("normal", "karras"):
                    continue
                counts = (4, 11, 20) if sampler is not restart else (10, 20, 40)
                for n in counts:
                    s = make(n) + [0.0]
                    x = unit.astype(np.float64) * s[0]
                    out[f"{toy.__name__}.{sampler.__name__}.{name}.n{n}"] = sampler(toy, x, s, iter(noise.astype(np.float64)))
        for n, name in ((20, "normal"), (4, "karras"), (11, "kl_optimal")):
            s = lists[name](n) + [0.0]
            x = unit.astype(np.float64) * s[0]
            out[f"{toy.__name__}.dpm_adaptive.{name}.n{n}"] = dpm_adaptive(toy, x, s, iter(noise.astype(np.float64)))
        for n in (4, 10, 20):
            top = sig[list(range(1, 1000, 1000 // n))[-1]]
            out[f"{toy.__name__}.plms.ddim_uniform.n{n}"] = plms(toy, unit.astype(np.float64) * top, n, None)
    save(path, out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
