"""What both trainings share: their pid file, saved states with averaged weights, and the learning rate's course."""
import math
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from config import SEED, THREADS, WORK, WORKERS


def announce():
    """Adds this process to WORK/pid, one number a line, and drops the ended ones: whoever measures speed can pause them."""
    path = WORK / "pid"
    alive = [p for p in (path.read_text().split() if path.exists() else []) if Path(f"/proc/{p}").exists()]
    path.write_text("\n".join([*alive, str(os.getpid())]) + "\n")


def rate(step, steps, peak, warmup, floor=0.02):
    """Linear warm-up, then a cosine down to floor x peak."""
    return peak * min(1, (step + 1) / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1, step / steps))))


def averaged(net, path):
    """Loads the averaged (EMA) weights of a saved state into `net`."""
    ema = torch.load(path, weights_only=False)["ema"]
    with torch.no_grad():
        for p, e in zip(net.parameters(), ema, strict=True):
            p.copy_(e)
    return net.eval().requires_grad_(False)


class Trainer:
    """Steps one module list towards less loss, and saves everything that is needed to go on."""

    def __init__(self, name, net, steps, peak, warmup, decay, save_seconds=120):
        self.name, self.net, self.steps, self.peak, self.warmup, self.decay = name, net, steps, peak, warmup, decay
        self.path, self.save_seconds = WORK / f"{name}.pt", save_seconds
        self.params = list(net.parameters())
        self.ema = [p.detach().clone() for p in self.params]
        self.optimiser = torch.optim.AdamW(self.params, lr=peak, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        self.step, self.log, self.mean = 0, [], None
        if self.path.exists():
            saved = torch.load(self.path, weights_only=False)
            net.load_state_dict(saved["net"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.ema, self.step, self.log = saved["ema"], saved["step"], saved["log"]
            self.mean = self.log[-1][1] if self.log else None

    def save(self):
        if rank() > 0:
            return
        state = {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "ema": self.ema, "step": self.step,
                 "log": self.log}
        torch.save(state, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").rename(self.path)

    def update(self, loss):
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, self.steps, self.peak, self.warmup)
        self.optimiser.zero_grad()
        loss.backward()
        if WORKERS > 1:
            share(self.params)
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(self.decay, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.params], 1 - keep)

    def run(self, loss_at):
        """loss_at(step) -> (loss to step on, number to log)."""
        print(f"{self.name}: {sum(p.numel() for p in self.params) / 1e6:.2f} M parameters, from step {self.step} of {self.steps}",
              flush=True)
        saved_at = began = time.time()
        while self.step < self.steps:
            loss, shown = loss_at(self.step)
            self.update(loss)
            self.mean = shown if self.mean is None else 0.97 * self.mean + 0.03 * shown
            if self.step % 25 == 0 and rank() == 0:
                self.log.append((self.step, self.mean))
                print(f"{self.name} step {self.step}: {self.mean:.4f}, {time.time() - began:.0f} s", flush=True)
            if time.time() - saved_at > self.save_seconds or self.step == self.steps:
                self.save()
                saved_at = time.time()


def rank():
    return dist.get_rank() if WORKERS > 1 else 0


def share(params):
    """Every worker goes on with the mean of all workers' gradients."""
    flat = torch.cat([p.grad.flatten() for p in params])
    dist.all_reduce(flat)
    for p, g in zip(params, flat.div_(WORKERS).split([p.numel() for p in params]), strict=True):
        p.grad.copy_(g.view_as(p))


def begin():
    """Same start for every run: workers, threads, seed, pid. Workers are forked before PyTorch starts a thread of its own; on a
    machine that is shared, two workers of one thread do more than one of two, whose threads wait for each other at every layer."""
    WORK.mkdir(parents=True, exist_ok=True)
    if WORKERS > 1:
        meeting = WORK / f"meeting.{os.getpid()}"
        mine = next((r for r in range(1, WORKERS) if os.fork() == 0), 0)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=mine, world_size=WORKERS)
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    if rank() == 0:
        announce()              # pausing it pauses the others, which wait for its gradients
