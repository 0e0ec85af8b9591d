"""The kernel for CUDA, in Triton's interpreter: its logic, not what hardware makes of it.

Triton reads TRITON_INTERPRET when it is imported, so these run in a process of their own: one of nox, or one that
`test_torch_triton.py` starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from multiloss.interface import Backend
from tests.crossentropy.reference import reference

pytestmark = [
    pytest.mark.backends("torch"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of NumPy, which is the interpreter's hardware
]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the kernel, with blocks so small that rows have several."""
    from multiloss_torch import _triton

    monkeypatch.setattr(_triton, "BLOCK", 64)
    return _triton


@pytest.mark.parametrize("softcap", [None, 8.0])
@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["labels", "soft labels", "one-hot labels"])
@pytest.mark.parametrize("classes", [1, 130])
def test_the_kernel_computes_what_float64_does(
    kernel: Any, classes: int, kind: str, smoothing: float, z_loss: float, softcap: float | None
) -> None:
    from multiloss_torch._rows import Options

    rng = np.random.default_rng(0)
    rows = np.arange(6)
    for weighted, scale in ((False, None), (True, 0.7), (True, "rows")):
        logits = 2.0 * rng.normal(size=(6, classes)).astype("float32")
        labels = rng.integers(0, classes, 6)
        logits[::2, :][np.arange(3), labels[::2]] += 20.0
        target = labels
        if kind != "labels":
            hot = np.eye(classes, dtype="float32")[labels]
            target = hot if kind == "one-hot labels" else rng.dirichlet(np.ones(classes), 6).astype("float32")
        class_weight = rng.uniform(0.5, 1.0, classes).astype("float32") if weighted else None
        row_weight: Any = rng.uniform(0.5, 1.0, 6).astype("float32") if scale == "rows" else scale
        if scale == "rows":
            row_weight[3] = 0.0
        values, gradient = reference(
            target,
            logits,
            row_weight,
            label_smoothing=smoothing,
            class_weight=class_weight,
            z_loss=z_loss,
            softcap=softcap,
        )
        given = torch.tensor(logits)
        if scale == "rows":
            given[3] = torch.nan
        weights = torch.tensor(row_weight) if scale == "rows" else row_weight
        options = Options(smoothing, z_loss, softcap)
        arguments = (
            torch.tensor(target),
            weights,
            None if class_weight is None else torch.tensor(class_weight),
            options,
        )
        np.testing.assert_allclose(kernel.sweep(given, *arguments).numpy(), values, rtol=2e-6, atol=1e-30)
        found = kernel.sweep(given, *arguments, given)  # where the logits are
        np.testing.assert_allclose(found.numpy(), values, rtol=2e-6, atol=1e-30)
        np.testing.assert_allclose(given.numpy(), gradient, rtol=1e-5, atol=1e-7)
        if kind != "soft labels" and not (smoothing or z_loss or softcap):
            np.testing.assert_allclose(given.numpy()[rows, labels], gradient[rows, labels], rtol=1e-6)


@pytest.mark.parametrize("far", [0.0, 16.0, 30.0, 80.0, 1e4, -30.0, -1e4])
def test_confident_rows_keep_their_digits(kernel: Any, far: float) -> None:
    from multiloss_torch._rows import Options

    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 300)).astype("float32")
    labels = rng.integers(0, 300, 3)
    rows = np.arange(3)
    logits[rows, labels] = far
    values, gradient = reference(labels, logits)
    out = torch.empty(3, 300)
    found = kernel.sweep(torch.tensor(logits), torch.tensor(labels), None, None, Options(), out)
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(out.numpy()[rows, labels], gradient[rows, labels], rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("size", [1e-8, 1e-4, 0.1, 0.69, 0.71, 0.99, 1.01, 50.0])
def test_series_are_exact(kernel: Any, size: float) -> None:
    x = np.full(4, size, dtype="float32")
    spread = torch.tensor(np.stack([np.zeros(4), np.log(x.astype("float64"))], 1))
    exact = np.log1p(np.exp(spread[:, 1].float().double().numpy()))
    if size < 1.0:  # the loss of two classes is log1p(exp(difference))
        from multiloss_torch._rows import Options

        found = kernel.sweep(spread.float(), torch.zeros(4, dtype=torch.int64), None, None, Options())
        np.testing.assert_allclose(found.numpy(), exact, rtol=5e-7)
    capped = torch.tensor([[0.0, size]])
    found = kernel.sweep(capped, torch.tensor([0]), None, None, kernel.Options(softcap=2.0))
    exact = np.log1p(np.exp(2.0 * np.tanh(np.float64(np.float32(size)) / 2.0)))
    np.testing.assert_allclose(found.numpy(), [exact], rtol=5e-7)


def test_infinite_logits_exclude_their_class(kernel: Any) -> None:
    from multiloss_torch._rows import Options

    inf = float("inf")
    logits = torch.full((2, 130), -inf)  # of the first row the first block, of the second one the last
    logits[0, 100], logits[0, 129] = 1.0, 0.0
    logits[1, 1], logits[1, 5] = 1e4, 9999.0
    out = torch.empty_like(logits)
    found = kernel.sweep(logits, torch.tensor([100, 1]), None, None, Options(), out)
    np.testing.assert_allclose(found.numpy(), np.log1p(np.exp([-1.0, -1.0])), rtol=1e-6)
    assert out.isfinite().all()
    np.testing.assert_allclose(out[0, 129], 1.0 / (1.0 + np.e), rtol=1e-6)
    assert float(kernel.sweep(logits, torch.tensor([0, 0]), None, None, Options())[0]) == inf


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(kernel: Any, dtype: str) -> None:
    from multiloss_torch._rows import Options

    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(size=(3, 127))).to(getattr(torch, dtype))
    labels = rng.integers(0, 127, 3)
    values, gradient = reference(labels, logits.double().numpy())
    found = kernel.sweep(logits, torch.tensor(labels), None, None, Options(), logits)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(logits.double().numpy(), gradient, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_both_operations_use_it(backend: Backend, kernel: Any, total: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from multiloss_torch import _crossentropy, _linear

    calls = []

    def counted(*arguments: Any) -> Any:
        calls.append(len(arguments[0]))
        return kernel.sweep(*arguments)

    rng = np.random.default_rng(1)
    logits, hidden, weight = (
        torch.tensor(rng.normal(size=size)).float().requires_grad_() for size in ((5, 130), (5, 3), (130, 3))
    )
    target = torch.tensor(rng.integers(0, 130, 5))
    expected = torch.autograd.grad(backend.softmax_crossentropy(target, logits, 0.5, total).sum(), logits)
    products = torch.autograd.grad(
        backend.linear_crossentropy(target, hidden, weight, None, 0.5, total).sum(), (hidden, weight)
    )
    for name in ("SMALL", "FEW", "NATIVE", "NARROW_NATIVE"):
        monkeypatch.setattr(_crossentropy, name, -1)
    for module in (_crossentropy, _linear):
        monkeypatch.setattr(module, "kernel_for", lambda logits: counted)
    found = torch.autograd.grad(backend.softmax_crossentropy(target, logits, 0.5, total).sum(), logits)
    torch.testing.assert_close(found, expected)
    assert calls == ([5] if total else [5, 5])
    found = torch.autograd.grad(
        backend.linear_crossentropy(target, hidden, weight, None, 0.5, total, memory_budget=4 * 130 * 3).sum(),
        (hidden, weight),
    )
    torch.testing.assert_close(found, products)
    assert calls[-2:] == [3, 2]
