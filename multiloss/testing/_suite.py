"""`BackendConformance`: what every backend must do, as one pytest class."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from multiloss._errors import DTypeError, NotSupportedError
from multiloss._registry import owner_of, use_backend
from multiloss.interface import Backend
from multiloss.testing._kinks import KinkCase, kink_cases
from multiloss.testing._losses import LossCase, example, loss_cases, public_loss_classes, public_losses
from multiloss.testing._operations import INF, NAN, OperationCase, operation_cases
from multiloss.testing._tolerance import DIFFERENCES, assert_close
from multiloss.transforms import value_and_grad

Array = Any

NOT_TENSOR_OPERATIONS = frozenset(
    {
        *("version", "devices", "asarray", "to_numpy", "dtype", "cast", "has_values", "is_floating"),
        *("ends_with_trace", "add_to_pair"),
        *("full", "arange", "value_and_grad", "grad_and_hessian_products"),
        *("jit", "run", "run_rows", "run_rows_knowing", "takes_rows", "host_copies", "checked_crossentropy"),
    }
)
"""What the suite tests by hand instead of by the table of operations."""


class BackendConformance:
    """Subclass it in a test module and give it a fixture `backend` that returns the backend:

        class TestMine(BackendConformance):
            @pytest.fixture
            def backend(self):
                return multiloss_mine.backend

    Every operation is compared with NumPy in float64, its gradient with central differences and with the rules of the
    interface, every override with the formula it replaces, and every public loss with the NumPy backend in float64.
    A backend with `differentiable = False` is not asked for gradients, and those cases are reported as skipped.
    """

    dtypes: ClassVar[Sequence[str]] = ("float32", "float64")
    """The dtypes to test. One that the framework cannot hold (`DTypeError`) is reported as skipped."""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test of each case."""
        for name, values in (
            ("operation_case", operation_cases),
            ("smooth_case", lambda: [case for case in operation_cases() if case.smooth]),
            ("kink_case", kink_cases),
            ("loss_case", loss_cases),
            ("loss_class", lambda: sorted(public_loss_classes())),
            ("dtype", lambda: self.dtypes),
        ):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values(), ids=str)

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    def test_it_names_itself(self, backend: Backend) -> None:
        assert backend.name.isidentifier()
        assert backend.version()
        assert backend.devices()
        assert backend.tensor_types

    def test_its_tensors_find_it(self, backend: Backend) -> None:
        assert owner_of(backend.asarray(np.zeros(3, np.float32))) is backend

    def test_host_data_keeps_its_dtype_and_values(self, backend: Backend, dtype: str) -> None:
        _require(backend, dtype)
        arrays: list[Array] = [np.array([[1.5, -2.0]], dtype), np.array(3.5, dtype), np.zeros((0, 2), dtype)]
        for array in arrays:
            x = backend.asarray(array)
            assert owner_of(x) is backend
            assert backend.dtype(x) == dtype
            assert tuple(x.shape) == array.shape
            assert backend.is_floating(x)
            np.testing.assert_array_equal(backend.to_numpy(x), array)
        others: list[Array] = [np.array([True, False]), np.array([1, 2], np.int32)]
        for other in others:
            x = backend.asarray(other)
            assert backend.dtype(x) == other.dtype.name
            assert not backend.is_floating(x)
            np.testing.assert_array_equal(backend.to_numpy(x), other)

    def test_asarray_returns_its_own_tensors_as_they_are(self, backend: Backend, dtype: str) -> None:
        x = _tensor(backend, np.ones(2, np.float32))
        assert backend.asarray(x) is x
        _require(backend, dtype)
        assert backend.dtype(backend.asarray(x, dtype=dtype)) == dtype

    def test_asarray_takes_numbers_and_lists(self, backend: Backend) -> None:
        assert backend.to_numpy(backend.asarray([[1.0, 2.0]], dtype="float32")).tolist() == [[1.0, 2.0]]
        assert float(backend.to_numpy(backend.asarray(2.5, dtype="float32"))) == 2.5
        assert int(backend.to_numpy(backend.asarray(2, dtype="int32"))) == 2

    def test_cast_changes_the_dtype_alone(self, backend: Backend, dtype: str) -> None:
        _require(backend, dtype)
        x = _tensor(backend, np.array([0.0, 1.0, 2.0], dtype))
        assert backend.dtype(backend.cast(x, dtype)) == dtype
        np.testing.assert_array_equal(backend.to_numpy(backend.cast(x, "int32")), [0, 1, 2])
        np.testing.assert_array_equal(backend.to_numpy(backend.cast(x, "bool")), [False, True, True])
        back = backend.cast(backend.cast(x, "bool"), dtype)
        assert backend.dtype(back) == dtype

    def test_an_unknown_dtype_is_a_dtype_error(self, backend: Backend) -> None:
        x = _tensor(backend, np.ones(2, np.float32))
        cast, create = functools.partial(backend.cast, x), functools.partial(backend.asarray, [1.0])
        assert "float31" in _error(DTypeError, cast, dtype="float31")
        assert "float31" in _error(DTypeError, create, dtype="float31")

    def test_concrete_tensors_have_values(self, backend: Backend) -> None:
        assert backend.has_values(_tensor(backend, np.ones(2, np.float32)))
        assert not backend.ends_with_trace(_tensor(backend, np.ones(2, np.float32)))

    def test_full_and_arange_follow_like(self, backend: Backend, dtype: str) -> None:
        _require(backend, dtype)
        like = _tensor(backend, np.zeros(1, dtype))
        for made, expected, name in (
            (backend.full((2, 3), 1.5, like=like), np.full((2, 3), 1.5), dtype),
            (backend.full((), 2, dtype="int32", like=like), np.full((), 2), "int32"),
            (backend.full((2,), 0.5, dtype=dtype), np.full((2,), 0.5), dtype),
            (backend.arange(4, dtype=dtype, like=like), np.arange(4), dtype),
        ):
            np.testing.assert_array_equal(backend.to_numpy(made), expected)
            assert backend.dtype(made) == name
        assert backend.dtype(backend.arange(3, like=like)).startswith("int")

    # ── Operations ──────────────────────────────────────────────────────────────────────────────────────────

    def test_every_operation_of_the_interface_has_a_case(self) -> None:
        operations = {name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")}
        assert operations - NOT_TENSOR_OPERATIONS == {case.operation for case in operation_cases()}

    def test_value(self, backend: Backend, operation_case: OperationCase, dtype: str) -> None:
        _require(backend, dtype)
        inputs = [_as_dtype(each, dtype) for each in operation_case.inputs]
        tensors = [_tensor(backend, each) for each in inputs]
        with np.errstate(all="ignore"):
            result = operation_case.call(getattr(backend, operation_case.operation), tensors)
            expected = operation_case.call(operation_case.reference, [_wide(each) for each in inputs])
        assert isinstance(result, backend.tensor_types)
        name = backend.dtype(result)
        if operation_case.result == "integer":
            assert name.startswith(("int", "uint")), name
        else:
            assert name == (dtype if operation_case.result == "same" else operation_case.result)
        assert_close(backend.to_numpy(result), expected, dtype)
        for before, after in zip(inputs, tensors, strict=True):
            if isinstance(before, np.ndarray):
                np.testing.assert_array_equal(backend.to_numpy(after), before, "An input was changed in place.")

    def test_gradient(self, backend: Backend, smooth_case: OperationCase, dtype: str) -> None:
        _require(backend, dtype)
        _require_gradients(backend)
        inputs = [_as_dtype(each, dtype) for each in smooth_case.inputs]
        wide = [_wide(each) for each in inputs]
        with np.errstate(all="ignore"):
            weights = np.random.default_rng(1).normal(size=np.shape(smooth_case.call(smooth_case.reference, wide)))
            gradients = _gradients(backend, smooth_case, inputs, weights.astype(dtype))
            for position, gradient in zip(smooth_case.smooth, gradients, strict=True):
                expected = _central_difference(smooth_case, wide, position, weights.astype(dtype).astype(float))
                assert gradient.dtype == dtype
                assert_close(gradient, expected, dtype, table=DIFFERENCES)

    def test_gradient_at_a_kink(self, backend: Backend, kink_case: KinkCase, dtype: str) -> None:
        _require(backend, dtype)
        _require_gradients(backend)
        inputs = [_as_dtype(each, dtype) for each in kink_case.inputs]
        case = OperationCase(
            kink_case.operation, "", tuple(inputs), np.sum, kink_case.keywords, smooth=tuple(kink_case.gradients)
        )
        with np.errstate(all="ignore"):
            gradients = _gradients(backend, case, inputs, None)
        for gradient, expected in zip(gradients, kink_case.gradients.values(), strict=True):
            assert_close(gradient, np.array(expected), dtype)

    def test_overrides_agree_with_the_formulas_they_replace(self, backend: Backend, dtype: str) -> None:
        _require(backend, dtype)
        for case in operation_cases():
            derived = getattr(Backend, case.operation)
            if case.operation in Backend.__abstractmethods__ or getattr(type(backend), case.operation) is derived:
                continue
            inputs = [_as_dtype(each, dtype) for each in case.inputs]
            tensors = [_tensor(backend, each) for each in inputs]
            with np.errstate(all="ignore"):
                own = backend.to_numpy(case.call(getattr(backend, case.operation), tensors))
                inherited = backend.to_numpy(case.call(functools.partial(derived, backend), tensors))
                assert_close(own, inherited, dtype)
                if backend.differentiable and case.smooth:
                    weights = np.ones(own.shape, dtype)
                    for one, other in zip(
                        _gradients(backend, case, inputs, weights),
                        _gradients(backend, case, inputs, weights, inherited=True),
                        strict=True,
                    ):
                        assert_close(one, other, dtype)

    def test_add_to_pair_has_twice_the_precision(self, backend: Backend, dtype: str) -> None:
        _require(backend, dtype)
        start = np.array([0.0, 2.0**24, -1.0, INF, NAN], dtype)
        steps = np.array([0.1, 1.0, 1e-9, 1.0, 1.0], dtype)
        for pair in (type(backend).add_to_pair, Backend.add_to_pair):
            high, low, x = (_tensor(backend, each) for each in (start, np.zeros_like(start), steps))
            with np.errstate(all="ignore"):
                for _ in range(1000):
                    high, low = pair(backend, high, low, x)
            assert backend.dtype(high) == backend.dtype(low) == dtype
            highs, lows = (backend.to_numpy(each).astype(np.float64) for each in (high, low))
            expected = start.astype(np.float64) + 1000.0 * steps.astype(np.float64)
            np.testing.assert_allclose(highs + lows, expected, rtol=1e-12)
            np.testing.assert_array_equal(lows[3:], 0.0)

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    def test_value_and_grad_returns_value_auxiliaries_and_gradients(self, backend: Backend) -> None:
        _require_gradients(backend)
        x, unused = (_tensor(backend, np.array(each, np.float32)) for each in ([1.0, 2.0], [5.0]))
        marker = object()

        def fn(leaves: list[Any]) -> tuple[Any, list[Any]]:
            owner = owner_of(leaves[0])
            return owner.sum(owner.square(leaves[0])), [leaves[0] * 2.0, marker]

        value, (doubled, same), gradients = backend.value_and_grad(fn, [x, unused])
        assert float(backend.to_numpy(value)) == 5.0
        assert backend.to_numpy(doubled).tolist() == [2.0, 4.0]
        assert same is marker
        assert [backend.to_numpy(each).tolist() for each in gradients] == [[2.0, 4.0], [0.0]]
        assert all(isinstance(each, backend.tensor_types) for each in (value, doubled, *gradients))

    def test_value_and_grad_of_a_constant_is_zero(self, backend: Backend) -> None:
        _require_gradients(backend)
        x = _tensor(backend, np.array([1.0, 2.0], np.float32))
        constant = _tensor(backend, np.array(3.0, np.float32))
        value, _, (gradient,) = backend.value_and_grad(lambda leaves: (constant, []), [x])
        assert float(backend.to_numpy(value)) == 3.0
        assert backend.to_numpy(gradient).tolist() == [0.0, 0.0]

    def test_hessian_products_are_second_derivatives(self, backend: Backend, dtype: str) -> None:
        _require_gradients(backend)
        _require(backend, dtype)
        x, v = np.array([[1.0, -2.0], [0.5, 0.0]], dtype), np.array([[1.0, 2.0], [-1.0, 3.0]], dtype)
        vectors = [_tensor(backend, each) for each in (v, np.ones_like(v))]

        def fn(x: Any) -> Any:
            owner = owner_of(x)
            return owner.square(owner.sum(owner.square(x)))

        gradient, products = backend.grad_and_hessian_products(fn, _tensor(backend, x), vectors)
        squares = (x * x).sum()
        assert_close(backend.to_numpy(gradient), 4 * squares * x, dtype)
        for each, product in zip((v, np.ones_like(v)), products, strict=True):
            assert isinstance(product, backend.tensor_types)
            assert_close(backend.to_numpy(product), 4 * squares * each + 8 * x * (x * each).sum(), dtype)
        assert backend.grad_and_hessian_products(fn, _tensor(backend, x), [])[1] == []

    def test_hessian_products_of_lines_and_constants_are_zero(self, backend: Backend) -> None:
        _require_gradients(backend)
        x, constant = (_tensor(backend, np.array(each, np.float32)) for each in ([1.0, 2.0], 3.0))
        for fn, slope in ((lambda x: owner_of(x).sum(3.0 * x), 3.0), (lambda x: constant, 0.0)):
            gradient, (product,) = backend.grad_and_hessian_products(fn, x, [x])
            assert backend.to_numpy(gradient).tolist() == [slope, slope]
            assert backend.to_numpy(product).tolist() == [0.0, 0.0]

    def test_a_backend_without_gradients_says_so(self, backend: Backend) -> None:
        if backend.differentiable:
            return
        leaf = _tensor(backend, np.array(1.0, np.float32))
        assert _error(NotSupportedError, backend.value_and_grad, lambda leaves: (leaves[0], []), [leaf])

    def test_jit_and_run_change_no_value(self, backend: Backend) -> None:
        x = _tensor(backend, np.array([1.0, 2.0], np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
            assert float(backend.to_numpy(backend.jit(lambda x: backend.sum(x))(x))) == 3.0
        assert backend.to_numpy(backend.run(_scaled, x, None, factor=2.0)).tolist() == [2.0, 4.0]
        assert backend.to_numpy(backend.run(_scaled, x, x, factor=2.0)).tolist() == [3.0, 6.0]

    # ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────

    def test_loss_value(self, backend: Backend, loss_case: LossCase, dtype: str) -> None:
        _require(backend, dtype)
        loss, (y_true, y_pred), reference = _prepared(loss_case, dtype)
        with use_backend("numpy"):
            expected = loss(*reference, **loss_case.parameters)
        tensors = _tensor(backend, y_true), _tensor(backend, y_pred)
        result = loss(*tensors, **loss_case.parameters)
        assert isinstance(result, backend.tensor_types)
        assert backend.dtype(result) == dtype
        assert_close(backend.to_numpy(result), expected, dtype)
        for before, after in zip((y_true, y_pred), tensors, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(after), before, "An input was changed in place.")

    def test_loss_gradient(self, backend: Backend, loss_case: LossCase, dtype: str) -> None:
        _require(backend, dtype)
        _require_gradients(backend)
        loss, (y_true, y_pred), reference = _prepared(loss_case, dtype)
        differentiated = value_and_grad(functools.partial(_total, loss, loss_case.parameters), argnums=1)
        with use_backend("numpy"):
            expected = differentiated(*reference)[1]
        gradient = differentiated(_tensor(backend, y_true), _tensor(backend, y_pred))[1]
        assert backend.dtype(gradient) == dtype
        assert np.isfinite(backend.to_numpy(gradient)).all()
        assert_close(backend.to_numpy(gradient), expected, dtype)

    def test_loss_class_with_weights_and_mask(self, backend: Backend, loss_class: str, dtype: str) -> None:
        _require(backend, dtype)
        cls = public_loss_classes()[loss_class]
        name = getattr(cls().fn, "__name__", "")
        y_true, y_pred = (_as_dtype(each, dtype) for each in example(public_losses()[name].__multiloss__, (6, 4)))
        weight, mask = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0], dtype), np.array([True, True, False, True, True, False])
        for reduction in ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"):
            loss = cls(reduction=reduction)
            with use_backend("numpy"):
                expected = loss(_wide(y_true), _wide(y_pred), _wide(weight), mask)
            result = loss(*(_tensor(backend, each) for each in (y_true, y_pred, weight, mask)))
            assert backend.dtype(result) == dtype
            assert_close(backend.to_numpy(result), expected, dtype)


# ── Helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _scaled(x: Any, offset: Any, *, factor: float) -> Any:
    return x * factor if offset is None else x * factor + offset


def _total(loss: Any, parameters: Any, y_true: Any, y_pred: Any) -> Any:
    values = loss(y_true, y_pred, **parameters)
    return owner_of(values).sum(values)


def _error(kind: type[Exception], fn: Any, *args: Any, **kwargs: Any) -> str:
    """Return the message of the error that a call must raise."""
    try:
        fn(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"Expected {kind.__name__}; nothing was raised.")


def _skip(reason: str) -> None:
    import pytest

    pytest.skip(reason)


def _require(backend: Backend, dtype: str) -> None:
    """Skip unless the backend can hold the dtype."""
    try:
        backend.cast(backend.asarray(np.zeros(1, np.float32)), dtype)
    except DTypeError as error:
        _skip(str(error))


def _require_gradients(backend: Backend) -> None:
    if not backend.differentiable:
        _skip(f"The backend {backend.name!r} does not differentiate.")


def _as_dtype(x: Any, dtype: str) -> Any:
    """Return an input with its floats in `dtype`; arrays come out read-only."""
    if not isinstance(x, (np.ndarray, np.generic)):
        return x
    with np.errstate(over="ignore", under="ignore"):
        array = np.array(x, dtype if np.asarray(x).dtype.kind == "f" else None)
    array.flags.writeable = False
    return array


def _wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def _tensor(backend: Backend, x: Any) -> Any:
    return backend.asarray(x) if isinstance(x, np.ndarray) else x


def _gradients(
    backend: Backend, case: OperationCase, inputs: Sequence[Any], weights: Array | None, *, inherited: bool = False
) -> list[Array]:
    """Return the gradients of the (weighted) sum of the operation's result for the smooth inputs of the case."""

    def fn(leaves: list[Any]) -> tuple[Any, list[Any]]:
        arguments = [_tensor(backend, each) for each in inputs]
        for position, leaf in zip(case.smooth, leaves, strict=True):
            arguments[position] = leaf
        owner = owner_of(*leaves)
        operation = (
            functools.partial(getattr(Backend, case.operation), owner) if inherited else getattr(owner, case.operation)
        )
        result = case.call(operation, arguments)
        owner = owner_of(result)
        return owner.sum(result if weights is None else result * _tensor(backend, weights)), []

    leaves = [_tensor(backend, inputs[position]) for position in case.smooth]
    return [backend.to_numpy(each) for each in backend.value_and_grad(fn, leaves)[2]]


def _central_difference(case: OperationCase, inputs: Sequence[Any], position: int, weights: Array) -> Array:
    """Return the derivative of the weighted sum of the reference, numerically."""
    x, step = inputs[position], 1e-6
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            replaced = [*inputs[:position], moved, *inputs[position + 1 :]]
            sides.append(float(np.sum(weights * case.call(case.reference, replaced))))
        gradient[index] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def _prepared(case: LossCase, dtype: str) -> tuple[Any, tuple[Array, Array], tuple[Array, Array]]:
    """Return the loss, its inputs in `dtype`, and those for the reference."""
    y_true, y_pred = _as_dtype(case.y_true, dtype), _as_dtype(case.y_pred, dtype)
    reference = (y_true, y_pred) if case.saturated else (_wide(y_true), _wide(y_pred))
    return public_losses()[case.loss], (y_true, y_pred), reference
