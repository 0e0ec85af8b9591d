"""A next-word model over 50 000 words, trained twice: with all logits in memory, and with `linear_crossentropy`.

    python examples/language_model.py --backend torch --plot language_model.png

Both ways start from the same weights and see the same words, so their losses agree; what differs is the memory. The text is
made up: word frequencies as in English (the n-th word is 1/n as frequent as the first), and after each word one of eight.
Pictures take matplotlib.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from multiloss.losses import LinearCrossentropy, SparseCategoricalCrossentropy

WORDS, SIZE, BATCH, RATE = 50_000, 64, 2048, 2.0


def text(length):
    rng = np.random.default_rng(0)
    frequent = 1.0 / np.arange(1, WORDS + 1)
    follow = rng.choice(WORDS, (WORDS, 8), p=frequent / frequent.sum())
    words = [0]
    for choice in rng.integers(0, 8, length):
        words.append(follow[words[-1], choice])
    return np.array(words)


def batches(steps):
    words = text(steps * BATCH + 2)
    for start in range(0, steps * BATCH, BATCH):
        yield np.stack([words[start + k : start + k + BATCH] for k in range(3)])  # two words, and the one that follows


def weights():
    rng = np.random.default_rng(1)
    shapes = {"embedding": (WORDS, SIZE), "mix": (2 * SIZE, SIZE), "head": (WORDS, SIZE)}
    return {name: rng.normal(0, shape[1] ** -0.5, shape).astype("float32") for name, shape in shapes.items()}


plain, fused = SparseCategoricalCrossentropy(from_logits=True), LinearCrossentropy()


def train_torch(way, steps):
    import torch

    model = {name: torch.tensor(each, requires_grad=True) for name, each in weights().items()}
    for first, second, following in map(torch.tensor, batches(steps)):
        pair = torch.cat([model["embedding"][first], model["embedding"][second]], 1)
        hidden = torch.tanh(pair @ model["mix"])
        if way == "fused":
            loss = fused(following, hidden, weight=model["head"])
        else:
            loss = plain(following, hidden @ model["head"].T)
        loss.backward()
        with torch.no_grad():
            for each in model.values():
                each -= RATE * each.grad
                each.grad = None
        yield loss.item()


def train_jax(way, steps):
    import jax
    import jax.numpy as jnp

    def loss_of(model, first, second, following):
        pair = jnp.concatenate([model["embedding"][first], model["embedding"][second]], 1)
        hidden = jnp.tanh(pair @ model["mix"])
        if way == "fused":
            return fused(following, hidden, weight=model["head"])
        return plain(following, hidden @ model["head"].T)

    def step(model, *batch):
        loss, slope = jax.value_and_grad(loss_of)(model, *batch)
        return loss, jax.tree.map(lambda each, towards: each - RATE * towards, model, slope)

    step = jax.jit(step, donate_argnums=0)
    model = jax.tree.map(jnp.asarray, weights())
    for batch in batches(steps):
        loss, model = step(model, *map(jnp.asarray, batch))
        yield float(loss)


def run(backend, way, steps):
    """Train in this process, and print the losses, the seconds and the peak of memory in MiB."""
    import resource

    start = time.perf_counter()
    losses = list({"torch": train_torch, "jax": train_jax}[backend](way, steps))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"losses": losses, "seconds": time.perf_counter() - start, "peak": peak}))


def plot(plt, results, backend, path):
    figure, (curve, memory) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", width_ratios=(2, 1))
    for (way, result), style in zip(results.items(), ({"lw": 4, "alpha": 0.4}, {"lw": 1.5, "ls": "--"}), strict=True):
        curve.plot(range(1, len(result["losses"]) + 1), result["losses"], label=way, **style)
        memory.bar(way, result["peak"])
        memory.annotate(f"{result['peak']:.0f}", (way, result["peak"]), ha="center", va="bottom")
    curve.set(xlabel="step", ylabel="cross-entropy (nats)", title=f"{WORDS} words on {backend}")
    curve.legend()
    memory.set(ylabel="MiB", title="peak memory of the process")
    memory.margins(y=0.1)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["torch", "jax"], default="torch")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--plot", type=Path, help="where to save the picture")
    parser.add_argument("--way", choices=["plain", "fused"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run(given.backend, given.way, given.steps)
        sys.exit()
    if given.plot:
        from matplotlib import pyplot as plt  # before the work
    results = {}
    for way in ("plain", "fused"):  # a process each, which has a peak of its own
        command = [sys.executable, __file__, "--backend", given.backend, "--steps", str(given.steps), "--way", way]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
        results[way] = json.loads(found.stdout)
        print(f"{way}: cross-entropy {results[way]['losses'][0]:.4f} -> {results[way]['losses'][-1]:.4f}, ", end="")
        print(f"{results[way]['seconds']:.1f} s, peak memory {results[way]['peak']:.0f} MiB")
    apart = np.abs(np.subtract(results["plain"]["losses"], results["fused"]["losses"])).max()
    print(f"the two curves differ by at most {apart:.1e}")
    if given.plot:
        plot(plt, results, given.backend, given.plot)
    assert apart < 1e-3
    assert results["fused"]["peak"] < results["plain"]["peak"]
