"""Cross-entropy of a linear layer on torch: chunks of logits, three products of matrices, and everything that may watch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from multiloss.interface import Backend
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.backends("torch")

ALL = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 8.0}
OPTIONS: list[dict[str, Any]] = [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"softcap": 8.0}, ALL]
HIDDEN = 5


def budget(rows: int, classes: int, itemsize: int = 4) -> int:
    """Return the bytes that so many rows of logits take."""
    return rows * classes * itemsize


def example(
    shape: tuple[int, ...], classes: int, seed: int = 0, soft: bool = False, dtype: str = "float32"
) -> list[Any]:
    """Return labels, hidden states, weight, bias, weights of rows of which some are 0, and weights of classes."""
    rng = np.random.default_rng(seed)
    target: Any = rng.integers(0, classes, shape)
    if soft:
        target = rng.dirichlet(np.ones(classes), shape)
    hidden, weight = rng.normal(size=(*shape, HIDDEN)), rng.normal(size=(classes, HIDDEN))
    row_weight = rng.uniform(0.5, 2.0, shape)
    row_weight.reshape(-1)[1::4] = 0.0
    floats = [hidden, weight, rng.normal(size=classes), row_weight, rng.uniform(0.5, 2.0, classes)]
    made = [torch.tensor(each).to(getattr(torch, dtype)) for each in floats]
    return [torch.tensor(target).float() if soft else torch.tensor(target), *made]


def expected(
    target: Any, hidden: Any, weight: Any, bias: Any, row_weight: Any, **options: Any
) -> tuple[Any, list[Any]]:
    """Return the losses, and the gradients of `sum(upstream * losses)`, by NumPy in float64."""
    upstream = options.pop("upstream", 1.0)
    classes, columns = weight.shape
    x = np.nan_to_num(hidden.detach().double().numpy().reshape(-1, columns))
    w = weight.detach().double().numpy()
    b = 0.0 if bias is None else bias.detach().double().numpy()
    weights = options.pop("class_weight", None)
    labels = target.reshape(-1, classes) if target.ndim == hidden.ndim else target.reshape(-1)
    values, slopes = reference(
        labels.numpy(),
        x @ w.T + b,
        None if row_weight is None else row_weight.double().reshape(-1).numpy(),
        class_weight=None if weights is None else weights.double().numpy(),
        **options,
    )
    slopes = slopes * np.reshape(upstream, (-1, 1))
    lead = tuple(hidden.shape[:-1])
    return values.reshape(lead), [(slopes @ w).reshape(hidden.shape), slopes.T @ x, slopes.sum(0)]


def leaves(*tensors: Any) -> list[Any]:
    return [each.clone().requires_grad_() for each in tensors]


def compare(found: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        np.testing.assert_allclose(ours.double().numpy(), theirs, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize("rows", [None, 4], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("classes", [1, 2, 127])
def test_values_and_gradients_are_those_of_float64(
    backend: Backend, classes: int, rows: int | None, soft: bool, options: dict[str, Any]
) -> None:
    for biased, weighted, total in itertools.product((False, True), (False, True), (False, True)):
        target, hidden, weight, bias, row_weight, class_weight = example((3, 5), classes, soft=soft)
        every = {**options, **({"class_weight": class_weight} if weighted else {})}
        upstream = np.array(0.7) if total else np.linspace(-1.0, 2.0, 15).reshape(3, 5)
        given = (target, hidden, weight, bias if biased else None, row_weight)
        values, gradients = expected(*given, upstream=upstream, **every)
        every["memory_budget"] = None if rows is None else budget(rows, classes)
        x, w, b = leaves(hidden, weight, bias)
        found = backend.linear_crossentropy(target, x, w, b if biased else None, row_weight, total, **every)
        wanted = (x, w, b) if biased else (x, w)
        slopes = torch.autograd.grad(found, wanted, torch.tensor(upstream).float())
        compare([found.detach()], [values.sum() if total else values])
        compare(slopes, gradients[: len(wanted)])
        compare([backend.linear_crossentropy(*given, total, **every)], [values.sum() if total else values])


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_of_weight_zero_reaches_nothing(backend: Backend, bad: float, total: bool) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    values, gradients = expected(target, hidden, weight, bias, row_weight, **ALL)
    hidden = torch.where((row_weight == 0).unsqueeze(-1), bad, hidden)
    x, w, b = leaves(hidden, weight, bias)
    found = backend.linear_crossentropy(target, x, w, b, row_weight, total, memory_budget=budget(4, 11), **ALL)
    found.sum().backward()
    compare([found.detach()], [values.sum() if total else values])
    compare([x.grad, w.grad, b.grad], gradients)

    def run(x: Any, w: Any) -> Any:  # where no row can be left out
        return backend.linear_crossentropy(target, x, w, b.detach(), row_weight, total, **ALL).sum()

    compare(torch.func.grad(run, (0, 1))(hidden, weight), gradients[:2])


def test_nan_that_comes_back_to_a_row_of_weight_zero_takes_no_digits_from_others(backend: Backend) -> None:
    target, hidden, weight, _, row_weight, _ = example((15,), 11, dtype="float16")

    def slopes(nothing: float) -> Any:
        upstream = torch.where(row_weight == 0, nothing, 1e-8)  # in half precision that is 0

        def total(hidden: Any) -> Any:
            return (backend.linear_crossentropy(target, hidden, weight * 1000, None, row_weight) * upstream).sum()

        return torch.func.grad(total)(hidden)  # where no row can be left out

    expected = slopes(1e-8)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(slopes(float("nan")), expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("rows", [0, 6])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_rows_that_are_absent_or_weigh_nothing_make_zero(
    backend: Backend, as_tensor: bool, rows: int, total: bool
) -> None:
    _, _, weight, bias, *_ = example((4,), 7)
    x, w, b = leaves(torch.full((rows, HIDDEN), float("nan")), weight, bias)
    found = backend.linear_crossentropy(
        torch.zeros(rows).long(), x, w, b, torch.zeros(rows) if as_tensor else 0.0, total
    )
    found.sum().backward()
    assert found.shape == (() if total else (rows,))
    assert float(found.detach().sum()) == 0.0
    compare([x.grad, w.grad, b.grad], [np.zeros((rows, HIDDEN)), np.zeros((7, HIDDEN)), np.zeros(7)])


def test_only_gradients_that_are_asked_for_are_computed(backend: Backend) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    _, gradients = expected(target, hidden, weight, bias, row_weight)
    for place in range(3):
        given = [hidden, weight, bias]
        given[place] = given[place].clone().requires_grad_()
        for total in (False, True):
            value = backend.linear_crossentropy(target, *given, row_weight, total, memory_budget=budget(4, 11))
            if total:
                sizes = [each.numel() for each in value.grad_fn.saved_tensors[-3:]]
                assert [size > 0 for size in sizes] == [each == place for each in range(3)]
            compare(torch.autograd.grad(value.sum(), given[place]), [gradients[place]])


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_each_way_back_gives_the_same_gradients(backend: Backend, total: bool) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    given = leaves(hidden, weight, bias)
    value = backend.linear_crossentropy(target, *given, row_weight, total).sum() * 3.0
    first = torch.autograd.grad(value, given, retain_graph=True)
    for each in first:
        each.mul_(1.0)  # what is handed out is nobody else's
    second = torch.autograd.grad(value, given)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_second_derivatives_are_those_of_the_formula(backend: Backend, soft: bool, total: bool) -> None:
    target, hidden, weight, bias, row_weight, class_weight = example((6,), 7, soft=soft)

    def products(operation: Any) -> tuple[Any, ...]:
        given = leaves(hidden, weight, bias)
        upstream = torch.linspace(0.5, 1.0, 1 if total else 6).reshape(() if total else (6,)).requires_grad_()
        value = operation(target, *given, row_weight, total, class_weight=class_weight, **ALL)
        slopes = torch.autograd.grad(value, given, upstream, create_graph=True)
        whole = sum((each * torch.linspace(-1.0, 1.0, each.numel()).reshape(each.shape)).sum() for each in slopes)
        return torch.autograd.grad(whole, (*given, upstream))

    formula = super(type(backend), backend).linear_crossentropy
    for ours, theirs in zip(products(backend.linear_crossentropy), products(formula), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own forward mode
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
def test_whoever_watches_sees_the_same(backend: Backend, soft: bool, total: bool) -> None:
    target, hidden, weight, bias, row_weight, class_weight = example((15,), 11, soft=soft)
    _, gradients = expected(target, hidden, weight, bias, row_weight, class_weight=class_weight, **ALL)

    def run(x: Any, w: Any, b: Any) -> Any:
        return backend.linear_crossentropy(
            target, x, w, b, row_weight, total, class_weight=class_weight, memory_budget=budget(4, 11), **ALL
        ).sum()

    compare(torch.func.grad(run, (0, 1, 2))(hidden, weight, bias), gradients)
    twice = torch.stack([hidden, hidden])
    mapped = torch.func.vmap(torch.func.grad(run, (0, 1, 2)), (0, None, None))(twice, weight, bias)
    compare([each[1] for each in mapped], gradients)

    def both(x: Any, w: Any, b: Any) -> Any:
        return torch.func.vmap(run, (0, None, None))(x, w, b).sum()

    slopes = torch.func.grad(both, (0, 1, 2))(twice, weight, bias)
    compare([slopes[0][1], slopes[1] / 2, slopes[2] / 2], gradients)
    given = leaves(twice, weight, bias)
    both(*given).backward()
    compare([given[0].grad[1], given[1].grad / 2, given[2].grad / 2], gradients)

    def slope(x: Any) -> Any:
        return torch.func.grad(run)(x, weight, bias).sum()

    ahead = torch.func.jvp(slope, (hidden,), (torch.ones_like(hidden),))[1]
    behind = torch.func.grad(slope)(hidden)
    torch.testing.assert_close(ahead, behind.sum(), rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.* should not be instantiated:DeprecationWarning")  # which Dynamo does
@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
def test_compilers_take_it_in_one_graph(backend: Backend, total: bool, compiler: str) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    _, gradients = expected(target, hidden, weight, bias, row_weight, **ALL)

    def run(x: Any, w: Any, b: Any) -> Any:
        return backend.linear_crossentropy(target, x, w, b, row_weight, total, memory_budget=budget(4, 11), **ALL).sum()

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend=compiler)
    given = leaves(hidden, weight, bias)
    compiled(*given).backward()
    compare([each.grad for each in given], gradients)
    torch.testing.assert_close(compiled(hidden, weight, bias), run(hidden, weight, bias))
    torch.compiler.reset()
    traced = torch.compile(torch.func.grad(run, (0, 1, 2)), fullgraph=True, backend=compiler)
    compare(traced(hidden, weight, bias), gradients)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_checkpoints_are_heard(backend: Backend, total: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    _, gradients = expected(target, hidden, weight, bias, row_weight)

    def run(x: Any, w: Any, b: Any) -> Any:
        return backend.linear_crossentropy(target, x, w, b, row_weight, total).sum()

    for reentrant in (False, True):
        given = leaves(hidden, weight, bias)
        checkpoint(run, *given, use_reentrant=reentrant).backward()
        compare([each.grad for each in given], gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rows", [None, 16], ids=["one chunk", "many chunks"])
def test_half_precision_is_summed_in_float32(backend: Backend, dtype: str, rows: int | None) -> None:
    target, hidden, weight, bias, row_weight, _ = example((64,), 300, dtype=dtype)
    logits = (hidden @ weight.T + bias).double()  # as rounded as those of a linear layer
    tolerance = 2e-3 if dtype == "float16" else 1.5e-2
    values, slopes = reference(target.numpy(), logits.numpy(), row_weight.double().numpy())
    x, w, b = leaves(hidden, weight, bias)
    memory = None if rows is None else budget(rows, 300, 2)
    found = backend.linear_crossentropy(target, x, w, b, row_weight, True, memory_budget=memory)
    found.backward()
    assert found.dtype == torch.float32
    np.testing.assert_allclose(float(found.detach()), values.sum(), rtol=tolerance / 4)
    assert [each.grad.dtype for each in (x, w, b)] == [hidden.dtype] * 3
    wanted = [slopes @ weight.double().numpy(), slopes.T @ hidden.double().numpy(), slopes.sum(0)]
    for ours, theirs in zip((x.grad, w.grad, b.grad), wanted, strict=True):
        assert np.linalg.norm(ours.double().numpy() - theirs) <= tolerance * np.linalg.norm(theirs)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_gradients_of_means_do_not_vanish_in_float16(backend: Backend, as_tensor: bool, total: bool) -> None:
    rows, classes = 512, 4000
    rng = np.random.default_rng(0)
    hidden = torch.tensor(rng.normal(size=(rows, HIDDEN))).half()
    weight = torch.tensor(rng.normal(size=(classes, HIDDEN))).half()
    target = torch.tensor(rng.integers(0, classes, rows))
    tiny = 1e-5 / rows
    scale = torch.full((rows,), tiny) if as_tensor else tiny
    x, w = leaves(hidden, weight)
    found = backend.linear_crossentropy(target, x, w, None, scale, total)
    # As with a scaled loss: what is too small for float16 is multiplied before it is rounded.
    slopes = torch.autograd.grad(found.sum() / tiny, (x, w))
    exact = leaves(hidden.double(), weight.double())
    torch.nn.functional.cross_entropy(exact[0] @ exact[1].T, target, reduction="sum").backward()
    for ours, theirs in zip(slopes, exact, strict=True):
        assert float((ours.double() - theirs.grad).norm() / theirs.grad.norm()) < 2e-3


def test_autocast_takes_operands_as_a_linear_layer_does(backend: Backend) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    x, w, b = leaves(hidden, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = backend.linear_crossentropy(target, x, w, b, row_weight, True)
    found.backward()
    halves = [each.bfloat16() for each in (hidden, weight, bias)]
    assert torch.equal(found.detach(), backend.linear_crossentropy(target, *halves, row_weight, True))
    assert [each.grad.dtype for each in (x, w, b)] == [torch.float32] * 3
    _, gradients = expected(target, hidden, weight, bias, row_weight)
    compare([x.grad, w.grad, b.grad], gradients, 3e-2)


@pytest.mark.parametrize("total", [False, True], ids=["rows", "total"])
def test_tensors_of_shapes_alone_have_losses_and_gradients_of_shapes(backend: Backend, total: bool) -> None:
    target, hidden, weight, bias, row_weight, _ = (each.to("meta") for each in example((3, 5), 11))
    x, w, b = leaves(hidden, weight, bias)
    found = backend.linear_crossentropy(target, x, w, b, row_weight, total, **ALL)
    assert found.shape == (() if total else (3, 5))
    found.sum().backward()
    assert [each.grad.shape for each in (x, w, b)] == [(3, 5, HIDDEN), (11, HIDDEN), (11,)]


def test_operands_of_two_dtypes_meet_in_the_wider_one(backend: Backend) -> None:
    target, hidden, weight, bias, row_weight, _ = example((15,), 11)
    x, w = leaves(hidden.bfloat16(), weight)
    backend.linear_crossentropy(target, x, w, bias, row_weight, True).backward()
    _, gradients = expected(target, hidden.bfloat16(), weight, bias, row_weight)
    compare([w.grad], [gradients[1]])
    assert x.grad.dtype == torch.bfloat16


def test_operands_may_lie_anyhow_in_memory(backend: Backend) -> None:
    target, hidden, weight, bias, row_weight, _ = example((4, 6), 11)
    _, gradients = expected(target, hidden, weight, bias, row_weight)
    x = hidden.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    w = weight.t().contiguous().t().requires_grad_()
    b = torch.stack([bias, bias], 1)[:, 0].detach().requires_grad_()
    backend.linear_crossentropy(target, x, w, b, row_weight, True).backward()
    compare([x.grad, w.grad, b.grad], gradients)


@pytest.mark.parametrize("soft", [False, True], ids=["class weights", "soft labels"])
def test_weights_and_labels_get_gradients_that_are_asked_for(backend: Backend, soft: bool) -> None:
    target, hidden, weight, bias, _, class_weight = example((15,), 11, soft=soft)
    wanted = (target if soft else class_weight).requires_grad_()
    value = backend.linear_crossentropy(target, hidden, weight, bias, None, True, class_weight=class_weight)
    (slope,) = torch.autograd.grad(value, wanted)
    assert float(slope.abs().sum()) > 0


def test_what_comes_back_to_a_row_of_weight_zero_reaches_nothing_inside_torch_func(backend: Backend) -> None:
    hidden, weight = torch.randn((2, 3)), torch.randn((5, 3))
    target, row_weight = torch.tensor([1, 4]), torch.tensor([1.0, 0.0])

    def gradients(upstream: Any) -> Any:
        def losses(x: Any, w: Any) -> Any:
            return backend.linear_crossentropy(target, x, w, None, row_weight)

        return torch.func.vjp(losses, hidden, weight)[1](upstream)

    for found, expected in zip(
        gradients(torch.tensor([1.0, torch.inf])), gradients(torch.tensor([1.0, 0.0])), strict=True
    ):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
