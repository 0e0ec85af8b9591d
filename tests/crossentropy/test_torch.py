"""Cross-entropy of many classes on torch: tiles, the gradient in the forward pass, and everything that may watch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from multiloss._errors import ArgumentError
from multiloss.interface import Backend
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.backends("torch")

ALL = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 8.0}
OPTIONS: list[dict[str, Any]] = [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"softcap": 8.0}, ALL]


def sweep_all(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    """Let small logits go the way of large ones."""
    from multiloss_torch import _crossentropy, _rows

    for name in ("SMALL", "FEW", "NATIVE", "NARROW_SMALL", "NARROW_NATIVE"):
        monkeypatch.setattr(_crossentropy, name, -1)
    monkeypatch.setattr(_rows, "TILE", tile)
    monkeypatch.setattr(_rows, "TOGETHER", 4)  # so that rows of several tiles wait for each other, and not all do


@pytest.fixture(params=[1 << 21, 64], ids=["one tile", "many tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep_all(monkeypatch, request.param)


@pytest.fixture(params=[None, 1 << 21, 64], ids=["as it is", "one tile", "many tiles"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        sweep_all(monkeypatch, request.param)


def example(shape: tuple[int, ...], classes: int, seed: int = 0, soft: bool = False) -> tuple[Any, Any, Any, Any]:
    """Return labels, logits of which a third are confident, weights of rows of which some are 0, and of classes."""
    rng = np.random.default_rng(seed)
    rows = int(np.prod(shape))
    logits = rng.normal(size=(rows, classes)).astype("float32")
    labels = rng.integers(0, classes, rows)
    logits[np.arange(0, rows, 3), labels[::3]] += 20.0
    row_weight = rng.uniform(0.5, 2.0, rows).astype("float32")
    row_weight[1::4] = 0.0
    class_weight = rng.uniform(0.5, 2.0, classes).astype("float32")
    if classes > 2:
        class_weight[classes // 2] = 0.0
    target = labels
    if soft:
        target = np.eye(classes)[labels] * 0.5 + 0.5 * rng.dirichlet(np.ones(classes), rows)
        target[::3] = np.eye(classes)[labels[::3]]
        target = target.astype("float32")
    given = torch.tensor(target).reshape(*shape, *([classes] if soft else []))
    return (
        given,
        torch.tensor(logits).reshape(*shape, classes),
        torch.tensor(row_weight).reshape(shape),
        torch.tensor(class_weight),
    )


def expected(target: Any, logits: Any, row_weight: Any, **options: Any) -> tuple[Any, Any]:
    """Return the losses and the gradient of their sum, by NumPy in float64."""
    classes = logits.shape[-1]
    soft = target.ndim == logits.ndim
    labels = target.reshape(-1, classes) if soft else target.reshape(-1)
    weights = options.pop("class_weight", None)
    values, gradient = reference(
        np.asarray(labels),
        logits.detach().double().reshape(-1, classes).numpy(),
        row_weight if row_weight is None or isinstance(row_weight, float) else row_weight.reshape(-1).double().numpy(),
        class_weight=None if weights is None else weights.double().numpy(),
        **options,
    )
    return values.reshape(logits.shape[:-1]), gradient.reshape(logits.shape)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize("classes", [1, 2, 127, 300])
def test_values_and_gradients_are_those_of_float64(
    backend: Backend, classes: int, soft: bool, options: dict[str, Any]
) -> None:
    for weighted, total in itertools.product((False, True), (False, True)):
        target, logits, row_weight, class_weight = example((9,), classes, soft=soft)
        every = {**options, **({"class_weight": class_weight} if weighted else {})}
        values, gradient = expected(target, logits, row_weight, **every)
        leaf = logits.clone().requires_grad_()
        found = backend.softmax_crossentropy(target, leaf, row_weight, total, **every)
        upstream = torch.tensor(0.7) if total else torch.linspace(-1.0, 2.0, 9)
        (slope,) = torch.autograd.grad(found, leaf, upstream)
        weights = 0.7 if total else upstream.double().numpy()[:, None]
        np.testing.assert_allclose(found.detach().numpy(), values.sum() if total else values, rtol=2e-6)
        np.testing.assert_allclose(slope.numpy(), gradient * weights, rtol=2e-5, atol=2e-7)
        plain = backend.softmax_crossentropy(target, logits, row_weight, total, **every)
        np.testing.assert_allclose(plain.numpy(), values.sum() if total else values, rtol=2e-6)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("far", [0.0, 5.0, 16.0, 30.0, 80.0, 1e4, -30.0, -1e4])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_confident_rows_keep_their_digits(backend: Backend, soft: bool, far: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(6, 500)).astype("float32")
    labels = rng.integers(0, 500, 6)
    logits[np.arange(6), labels] = far
    values, gradient = reference(labels, logits)
    target = torch.tensor(np.eye(500, dtype="float32")[labels]) if soft else torch.tensor(labels)
    leaf = torch.tensor(logits).requires_grad_()
    found = backend.softmax_crossentropy(target, leaf, None, True)
    found.backward()
    each = backend.softmax_crossentropy(target, leaf.detach())
    np.testing.assert_allclose(each.numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(float(found.detach()), values.sum(), rtol=1e-6)
    rows = np.arange(6)
    np.testing.assert_allclose(leaf.grad.numpy()[rows, labels], gradient[rows, labels], rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("confident", [False, True], ids=["unsure", "confident"])
def test_few_logits_without_options_are_torchs_own_where_that_is_exact(
    backend: Backend, confident: bool, total: bool, shape: tuple[int, ...]
) -> None:
    target, logits, _, _ = example(shape, 50)
    if not confident:
        logits = logits.clamp(max=3.0)
    values, gradient = expected(target, logits, 0.25)
    leaf = logits.clone().requires_grad_()
    found = backend.softmax_crossentropy(target.int(), leaf, 0.25, total)
    upstream = torch.linspace(0.5, 1.0, found.numel()).reshape(found.shape)
    for _ in range(2):
        (slope,) = torch.autograd.grad(found, leaf, upstream, retain_graph=True)
        np.testing.assert_allclose(slope.numpy(), gradient * upstream.unsqueeze(-1).numpy(), rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(found.detach().numpy(), values.sum() if total else values, rtol=1e-6)
    (slope,) = torch.autograd.grad(found, leaf, upstream, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), leaf)
    exact = logits.double().requires_grad_()
    value = super(type(backend), backend).softmax_crossentropy(target, exact, 0.25, total)
    (slope,) = torch.autograd.grad(value, exact, upstream.double(), create_graph=True)
    torch.testing.assert_close(
        again.double(), torch.autograd.grad(slope.square().sum(), exact)[0], rtol=1e-4, atol=1e-7
    )


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_a_row_that_somebody_leaves_out_afterwards_leaves_no_nan(backend: Backend, options: dict[str, Any]) -> None:
    target, logits, _, _ = example((40,), 1000)
    counts = torch.arange(40) % 3 > 0
    slopes = []
    for fill in (0.0, float("nan")):
        leaf = logits.clone()
        leaf[~counts] = fill
        losses = backend.softmax_crossentropy(target, leaf.requires_grad_(), **options)
        slopes += torch.autograd.grad(torch.where(counts, losses, 0.0).sum(), leaf)
    assert not slopes[1][~counts].any()
    torch.testing.assert_close(slopes[1], slopes[0])


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_one_weight_for_all_rows_may_be_a_tensor(backend: Backend, options: dict[str, Any], soft: bool) -> None:
    target, logits, _, _ = example((9,), 50, soft=soft)
    found, expected = (
        torch.autograd.grad(backend.softmax_crossentropy(target, leaf, weight, True, **options), leaf)[0]
        for weight in (torch.tensor(0.25), 0.25)
        for leaf in [logits.clone().requires_grad_()]
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("classes", [2047, 2049, 50257])
def test_any_number_of_classes_will_do(backend: Backend, classes: int) -> None:
    target, logits, row_weight, _ = example((5,), classes)
    exact = logits.double().requires_grad_()
    formula = super(type(backend), backend).softmax_crossentropy
    formula(target, exact, row_weight.double(), True, label_smoothing=0.1).backward()
    leaf = logits.clone().requires_grad_()
    backend.softmax_crossentropy(target, leaf, row_weight, True, label_smoothing=0.1).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), exact.grad.numpy(), rtol=2e-5, atol=2e-7)
    found = backend.softmax_crossentropy(target, logits, row_weight, False, label_smoothing=0.1)
    values = formula(target, logits.double(), row_weight.double(), False, label_smoothing=0.1)
    np.testing.assert_allclose(found.numpy(), values.numpy(), rtol=2e-6)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("classes", [300, 1024, 2047, 2049])
def test_a_confident_row_keeps_its_digits_wherever_its_class_is(backend: Backend, classes: int) -> None:
    labels = torch.tensor([0, 255, classes // 2, classes - 2, classes - 1])
    logits = torch.randn((len(labels), classes), generator=torch.Generator().manual_seed(0))
    logits[range(len(labels)), labels] += 20.0
    hot = torch.nn.functional.one_hot(labels, classes).float()
    values, gradient = expected(labels, logits, None)
    for target in (labels, hot):
        leaf = logits.clone().requires_grad_()
        found = backend.softmax_crossentropy(target, leaf)
        found.sum().backward()
        np.testing.assert_allclose(found.detach().numpy(), values, rtol=2e-6)
        np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=2e-5, atol=1e-12)


@pytest.mark.usefixtures("tiles")
def test_a_class_beside_a_block_of_equal_probability_is_not_mistaken_for_another(backend: Backend) -> None:
    classes = 1024  # of which one in the first half has as much as all of the second half, give or take a rounding
    logits = torch.full((512, classes), -50.0)
    logits[:, 512:] = torch.randn((512, 512), generator=torch.Generator().manual_seed(0))
    logits[:, 512:] -= torch.logsumexp(logits[:, 512:].double(), 1, True).float()
    logits[:, 7] = torch.linspace(-5e-7, 5e-7, 512)
    labels = torch.tensor([7, 600]).repeat(256)
    hot = torch.nn.functional.one_hot(labels, classes).float()
    values, gradient = expected(labels, logits, None)
    leaf = logits.clone().requires_grad_()
    found = backend.softmax_crossentropy(hot, leaf)
    found.sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(backend.softmax_crossentropy(hot, logits).numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=2e-5, atol=2e-7)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_row_of_weight_zero_reaches_nothing(backend: Backend, bad: float, total: bool) -> None:
    target, logits, row_weight, _ = example((2, 4), 11)
    absent = row_weight == 0
    spoilt = torch.where(absent.unsqueeze(-1), bad, logits)
    values, gradient = expected(target, logits, row_weight, **ALL)
    leaf = spoilt.clone().requires_grad_()
    found = backend.softmax_crossentropy(target, leaf, row_weight, total, **ALL)
    found.sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), values.sum() if total else values, rtol=2e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=2e-5, atol=2e-7)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("none", [torch.zeros(4), 0.0], ids=["tensor", "number"])
def test_rows_that_all_weigh_nothing_make_zero(backend: Backend, none: Any) -> None:
    leaf = torch.full((4, 7), float("nan"), requires_grad=True)
    value = backend.softmax_crossentropy(torch.arange(4), leaf, none, True)
    value.backward()
    assert float(value.detach()) == 0.0
    assert torch.equal(leaf.grad, torch.zeros(4, 7))


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_no_rows_make_zero(backend: Backend, total: bool) -> None:
    leaf = torch.zeros((0, 3, 7), requires_grad=True)
    value = backend.softmax_crossentropy(torch.zeros((0, 3), dtype=torch.int64), leaf, None, total)
    value.sum().backward()
    assert value.shape == (() if total else (0, 3))
    assert float(value.detach().sum()) == 0.0
    assert leaf.grad.shape == (0, 3, 7)


@pytest.mark.usefixtures("ways")
def test_a_weight_that_is_nan_makes_its_row_nan(backend: Backend) -> None:
    target, logits, row_weight, _ = example((5,), 11)
    row_weight[2] = float("nan")
    leaf = logits.requires_grad_()
    values = backend.softmax_crossentropy(target, leaf, row_weight)
    values.sum().backward()
    assert torch.equal(values.isnan(), torch.arange(5) == 2)
    assert torch.equal(leaf.grad.isnan().any(1), torch.arange(5) == 2)
    assert backend.softmax_crossentropy(target, logits, row_weight, True).isnan()


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_classes_that_are_excluded_by_an_infinite_logit_have_no_slope(backend: Backend, soft: bool) -> None:
    logits = torch.tensor([[1e4, -torch.inf, 9999.0], [-torch.inf, -1e4, -torch.inf], [0.0, -torch.inf, 1.0]])
    labels = torch.tensor([0, 1, 2])
    target = torch.nn.functional.one_hot(labels, 3).float() if soft else labels
    leaf = logits.requires_grad_()
    values = backend.softmax_crossentropy(target, leaf)
    values.sum().backward()
    np.testing.assert_allclose(
        values.detach().numpy(), [np.log1p(np.exp(-1.0)), 0.0, np.log1p(np.exp(-1.0))], rtol=1e-6
    )
    p = 1.0 / (1.0 + np.e)
    np.testing.assert_allclose(leaf.grad.numpy(), [[-p, 0.0, p], [0.0, 0.0, 0.0], [p, 0.0, -p]], rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("ways")
def test_an_impossible_label_costs_infinity(backend: Backend) -> None:
    leaf = torch.tensor([[0.0, -torch.inf, 0.0]], requires_grad=True)
    value = backend.softmax_crossentropy(torch.tensor([1]), leaf)
    value.sum().backward()
    assert float(value.detach()) == float("inf")
    np.testing.assert_allclose(leaf.grad.numpy(), [[0.5, -1.0, 0.5]])


@pytest.mark.usefixtures("ways")
def test_logits_may_lie_anyhow_in_memory(backend: Backend) -> None:
    target, logits, row_weight, _ = example((4, 3), 17)
    values, gradient = expected(target, logits, row_weight)
    turned = logits.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    shifted = torch.zeros(4, 5, 20)
    shifted[:, 1:-1, 2:-1] = logits
    for other in (turned, shifted[:, 1:-1, 2:-1]):
        for total in (False, True):
            leaf = other.detach().requires_grad_()
            found = backend.softmax_crossentropy(target, leaf, row_weight, total)
            for _ in range(2):
                (slope,) = torch.autograd.grad(found.sum(), leaf, retain_graph=True)
                np.testing.assert_allclose(slope.numpy(), gradient, rtol=2e-5, atol=2e-7)
            np.testing.assert_allclose(found.detach().numpy(), values.sum() if total else values, rtol=2e-6)
    assert torch.equal(shifted[:, 1:-1, 2:-1], logits)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_each_way_back_gives_the_same_gradient(backend: Backend, total: bool) -> None:
    target, logits, row_weight, _ = example((9,), 11)
    leaf = logits.requires_grad_()
    found = backend.softmax_crossentropy(target, leaf, row_weight, total).sum() * 3.0
    (first,) = torch.autograd.grad(found, leaf, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(found, leaf)
    assert torch.equal(first, kept)
    torch.testing.assert_close(first, second)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_second_derivatives_are_those_of_the_formula(backend: Backend, soft: bool, total: bool) -> None:
    target, logits, row_weight, class_weight = example((2, 3), 7, soft=soft)
    options = {"class_weight": class_weight, **ALL}

    def products(operation: Any) -> tuple[Any, ...]:
        leaf = logits.clone().requires_grad_()
        upstream = torch.linspace(0.5, 1.0, 1 if total else 6).reshape(() if total else (2, 3)).requires_grad_()
        value = operation(target, leaf * 1.0, row_weight, total, **options)
        (slope,) = torch.autograd.grad(value, leaf, upstream, create_graph=True)
        return torch.autograd.grad((slope * torch.arange(42.0).reshape(2, 3, 7)).sum(), (leaf, upstream))

    formula = super(type(backend), backend).softmax_crossentropy
    for ours, theirs in zip(products(backend.softmax_crossentropy), products(formula), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-5)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(backend: Backend, dtype: str) -> None:
    target, logits, row_weight, _ = example((9,), 300)
    half = logits.to(getattr(torch, dtype))
    values, gradient = expected(target, half, row_weight, **ALL)
    for total in (False, True):
        leaf = half.clone().requires_grad_()
        found = backend.softmax_crossentropy(target, leaf, row_weight, total, **ALL)
        found.sum().backward()
        assert found.dtype == torch.float32
        assert leaf.grad.dtype == half.dtype
        np.testing.assert_allclose(found.detach().numpy(), values.sum() if total else values, rtol=2e-6)
        tolerance = 1e-3 if dtype == "float16" else 8e-3
        np.testing.assert_allclose(leaf.grad.float().numpy(), gradient, rtol=tolerance, atol=1e-6)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_the_gradient_may_take_the_place_of_the_logits(backend: Backend, total: bool) -> None:
    target, logits, row_weight, _ = example((9,), 11)
    _, gradient = expected(target, logits, row_weight)
    leaf = logits.clone().requires_grad_()
    made = leaf + 0.0
    place = made.data_ptr()
    value = backend.softmax_crossentropy(target, made, row_weight, total, overwrite=True).sum()
    (slope,) = torch.autograd.grad(value, made, retain_graph=True)
    assert slope.data_ptr() == place
    np.testing.assert_allclose(slope.numpy(), gradient, rtol=2e-5, atol=2e-7)
    with pytest.raises(ArgumentError, match="overwrite=False"):
        torch.autograd.grad(value, made)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_others_need_is_not_overwritten(backend: Backend, overwrite: bool) -> None:
    target, logits, row_weight, _ = example((9,), 11)
    leaf = logits.clone().requires_grad_()
    backend.softmax_crossentropy(target, leaf, row_weight, True, overwrite=overwrite).backward()
    assert torch.equal(leaf.detach(), logits)
    backend.softmax_crossentropy(target, leaf.detach(), row_weight, True, overwrite=overwrite)
    assert torch.equal(leaf.detach(), logits)


@pytest.mark.usefixtures("tiles")
def test_an_earlier_operation_whose_result_is_overwritten_says_so(backend: Backend) -> None:
    target, logits, _, _ = example((9,), 11)
    leaf = logits.requires_grad_()
    value = backend.softmax_crossentropy(target, leaf.exp(), None, True, overwrite=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_checkpoints_and_hooks_are_heard(backend: Backend, total: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    target, logits, row_weight, _ = example((9,), 11)
    _, gradient = expected(target, logits, row_weight)

    def run(x: Any) -> Any:
        return backend.softmax_crossentropy(target, x * 1.0, row_weight, total, overwrite=True).sum()

    for reentrant in (False, True):
        leaf = logits.clone().requires_grad_()
        checkpoint(run, leaf, use_reentrant=reentrant).backward()
        np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=2e-5, atol=2e-7)
    leaf = logits.clone().requires_grad_()
    with torch.autograd.graph.save_on_cpu():
        value = run(leaf)
    value.backward()
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=2e-5, atol=2e-7)


@pytest.mark.usefixtures("ways")
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own forward mode
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_whoever_watches_sees_the_same(backend: Backend, total: bool) -> None:
    target, logits, row_weight, _ = example((9,), 11)
    _, gradient = expected(target, logits, row_weight, **ALL)

    def run(x: Any) -> Any:
        return backend.softmax_crossentropy(target, x, row_weight, total, **ALL).sum()

    def check(found: Any) -> None:
        np.testing.assert_allclose(found.detach().numpy(), gradient, rtol=2e-5, atol=2e-7)

    check(torch.func.grad(run)(logits))
    check(torch.func.vmap(torch.func.grad(run))(torch.stack([logits, logits]))[1])
    torch.compiler.reset()
    leaf = logits.clone().requires_grad_()
    torch.compile(run, fullgraph=True, backend="eager")(leaf).backward()
    check(leaf.grad)
    _, slope = torch.func.jvp(run, (logits,), (torch.ones_like(logits),))
    np.testing.assert_allclose(float(slope), gradient.sum(), rtol=1e-3, atol=1e-5)
    leaf = logits.clone().requires_grad_()
    found = backend.softmax_crossentropy(target, leaf, row_weight, total, **ALL)
    upstream = torch.stack([torch.ones_like(found), torch.ones_like(found)])
    (slopes,) = torch.autograd.grad(found, leaf, upstream, is_grads_batched=True)
    check(slopes[1])


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("soft", [False, True], ids=["class weights", "soft labels"])
def test_weights_and_labels_get_gradients_that_are_asked_for(backend: Backend, soft: bool) -> None:
    target, logits, _, class_weight = example((9,), 11, soft=soft)
    wanted = (target if soft else class_weight).requires_grad_()
    value = backend.softmax_crossentropy(target, logits, None, True, class_weight=class_weight)
    (slope,) = torch.autograd.grad(value, wanted)
    assert float(slope.detach().abs().sum()) > 0


@pytest.mark.usefixtures("ways")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic", "jit"])
def test_what_is_written_down_does_not_depend_on_the_values_it_was_written_with(backend: Backend, mode: str) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    target, logits, _, _ = example((9,), 11)

    def run(target: Any, x: Any) -> Any:
        return backend.softmax_crossentropy(target, x)

    operands = (target, torch.zeros_like(logits))
    written = torch.jit.trace(run, operands) if mode == "jit" else make_fx(run, tracing_mode=mode)(*operands)
    values, _ = expected(target, logits, None)
    np.testing.assert_allclose(written(target, logits).numpy(), values, rtol=2e-6)


def test_large_sums_hold_their_gradient_once(backend: Backend) -> None:
    from multiloss_torch import _small

    target, logits, _, _ = example((64,), 3000)
    assert logits.numel() > _small.FEW
    values, gradient = expected(target, logits, None)
    leaf = logits.requires_grad_()
    found = backend.softmax_crossentropy(target, leaf, 1 / 64, True)
    kept = found.grad_fn.gradient.data_ptr()
    found.backward()
    assert leaf.grad.data_ptr() == kept
    np.testing.assert_allclose(float(found.detach()), values.mean(), rtol=2e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient / 64, rtol=2e-5, atol=2e-8)


def test_autocast_changes_nothing(backend: Backend) -> None:
    target, logits, row_weight, class_weight = example((64,), 3000)
    options = {"class_weight": class_weight, "label_smoothing": 0.1}
    plain = backend.softmax_crossentropy(target, logits, row_weight, True, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backend.softmax_crossentropy(target, logits, row_weight, True, **options), plain)
