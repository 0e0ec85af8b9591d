"""`grad_and_hessian`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from multiloss._boundary import arrive, as_floats
from multiloss._errors import ArgumentError, NotSupportedError, unknown_name
from multiloss._typing import Tensor, TensorLike
from multiloss.derivatives._closed_forms import closed_form
from multiloss.derivatives._exact import by_autodiff, in_closed_form
from multiloss.derivatives._positive import fisher, gauss_newton, identity
from multiloss.derivatives._samples import Samples, by_entry, samples_of
from multiloss.derivatives._shapes import FORMS, Form, raised, spec_and_parameters, structure_of, with_parameters
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses import Loss
from multiloss.losses._composition import as_loss

Curvature = Literal["exact", "fisher", "gauss_newton", "constant"]


def grad_and_hessian(
    loss: Any, *, hessian: Curvature = "exact", form: Form = "diagonal", floor: float | None = None
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function that gives a loss's gradient and Hessian with respect to `y_pred`, for all samples at once.

    It takes what the loss takes, `(y_true, y_pred, sample_weight=None, mask=None)` and named inputs, as NumPy, torch or JAX
    tensors, and returns two tensors of that kind. They are derivatives of the reduced loss; with reduction `"none"` and for
    a function, of the sum of the values, so that each row has the derivatives of its own value, times its weight. The
    Hessian of a batch is made of one block per sample, and these are returned:

    | `form` | each entry has a value of its own, as in regression | the classes of a sample share one |
    |---|---|---|
    | `"diagonal"` | second derivatives, in the shape of `y_pred` | the diagonals of the blocks, in the shape of `y_pred` |
    | `"block"` | an error: off the diagonal there is nothing | the blocks, (..., K, K) with the classes last |
    | `"bound"` | their magnitudes | sums of the magnitudes in each row of a block |

    The diagonal matrix of the bound is at least the block, so that steps by it never go too far; for a softmax it is
    `2 p (1 - p)`.

    The curvature of a sample is one of these:

    * `"exact"`: the second derivative. It may be negative if the loss is not convex, and 0 where the loss is straight.
    * `"fisher"`: the outer product `g g^T` of the gradient that is expected for labels drawn from the predicted
      distribution; for squared error and Poisson the second derivative that is expected. Never negative. It equals the
      exact one for cross-entropies of logits without label smoothing.
    * `"gauss_newton"`: `g g^T / (2 loss)`, the curvature of half the square of the residual `sqrt(2 loss)`. Never negative,
      also for losses that have no second derivative, where it grows without bounds towards a perfect prediction. It
      equals the exact one for squared error.
    * `"constant"`: 1 for each prediction, which makes gradient descent of Newton's method.

    Closed forms are used where there are some; other losses, your own too, are differentiated twice, which takes K products
    with a vector for K classes, and memory for K times `y_pred`; on JAX, call the function inside `jax.jit`. The second
    derivative at a kink is undefined: it is what the derivatives of the operations in `multiloss.backend` give there. Both
    tensors are cut off from any gradient.

    Args:
        loss: a loss, its name, or a function of `(y_true, y_pred)` over `multiloss.backend` that returns one value per sample.
        hessian: see above.
        form: see above.
        floor: the least entry on the diagonal of the Hessian of one sample, before its weight and the reduction.

    Returns:
        A function of the arguments of the loss that returns `(gradient, hessian)`.

    Raises:
        NotSupportedError: by that function: for `"exact"` if the loss has no second derivative other than 0, for `"fisher"`
            if it predicts no distribution, for a loss that relates samples to each other.
        ArgumentError: for arguments outside their domain, and for `"block"` where there are none.
        ShapeError: if a loss of your own returns neither one value per sample nor one per entry of `y_pred`.

    >>> from multiloss.losses import BinaryCrossentropy
    >>> gradient, hessian = grad_and_hessian(BinaryCrossentropy(from_logits=True, reduction="sum"))([0.0, 1.0], [0.0, 0.0])
    >>> gradient.tolist(), hessian.tolist()
    ([0.5, -0.5], [0.25, 0.25])
    >>> gradient, hessian = grad_and_hessian("mae", hessian="gauss_newton")([[0.0], [0.0]], [[1.0], [4.0]])
    >>> gradient.ravel().tolist(), hessian.ravel().tolist()
    ([1.0, 1.0], [0.5, 0.125])
    """
    return scaled_grad_and_hessian(loss, hessian, form, floor)


def scaled_grad_and_hessian(
    loss: Any, hessian: Curvature, form: Form, floor: float | None, scales: tuple[float, float] = (1.0, 1.0)
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return what `grad_and_hessian` does, with gradient and Hessian multiplied by one of `scales` each."""
    found = as_loss(loss, reduction="none")
    if hessian not in _CURVATURES:
        raise unknown_name("hessian", hessian, _CURVATURES)
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if floor is not None and not floor >= 0:
        raise ArgumentError(f"floor={floor!r} is not allowed. Expected a number of at least 0, or None.")
    spec, parameters = spec_and_parameters(found)
    tensors = [name for name, value in parameters.items() if hasattr(value, "dtype")]
    if hessian == "exact" and spec is not None and not spec.curved:
        raise _straight(spec.name)

    def differentiated(
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: TensorLike,
    ) -> tuple[Tensor, Tensor]:
        if inputs and spec is not None:
            found._inputs.check(type(found).__name__, inputs)
        given = (parameters[name] for name in tensors)
        backend, (true, pred, weight, kept, *arrived) = arrive(
            y_true, y_pred, sample_weight, mask, *given, *inputs.values()
        )
        named = dict(zip(inputs, arrived[len(tensors) :], strict=True))
        if not backend.differentiable:
            raise NotSupportedError(f"The backend {backend.name!r} cannot differentiate. Use numpy, torch or jax.")
        pred = pred if backend.is_floating(pred) else as_floats(pred)
        own = {**parameters, **dict(zip(tensors, arrived, strict=False))}
        return _derivatives(backend, found, own, hessian, form, floor, scales, true, pred, weight, kept, named)

    return differentiated


def _straight(name: str) -> NotSupportedError:
    return NotSupportedError(
        f"{name} is made of straight pieces: its second derivative is 0 wherever there is one, and Newton's method would "
        "divide by it. Use hessian='constant' (gradient descent), hessian='gauss_newton', or a smooth loss such as log_cosh."
    )


def _derivatives(
    backend: Backend,
    loss: Loss,
    parameters: Mapping[str, Any],
    hessian: Curvature,
    form: Form,
    floor: float | None,
    scales: tuple[float, float],
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    inputs: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian, in the dtype of `y_pred`."""
    spec, _ = spec_and_parameters(loss)
    each: Callable[..., Tensor] = with_parameters(loss, reduction="none")
    structure = structure_of(loss, y_pred, lambda: each(y_true, y_pred, sample_weight, mask, **inputs))
    axis = structure.axis
    if form == "block" and axis is None:
        raise ArgumentError(
            "form='block' asks for second derivatives across the entries of a sample, and in this loss each entry of y_pred "
            "has a value of its own. Use form='diagonal'."
        )
    closed = closed_form(hessian, spec, parameters)
    if closed is not None and spec is not None:
        y_true, y_pred = K.stop_gradient(y_true), K.stop_gradient(y_pred)
        settled = spec.settle_integers(backend, y_pred, loss.dtype, parameters)
        checked = spec.labels_checked(backend, y_true, settled, sample_weight, mask, parameters)
        static = {"reduction": loss.reduction, "dtype": loss.dtype, "form": form, "floor": floor, "scales": scales}
        gradient, curvature = in_closed_form(
            backend, closed, y_true, settled, sample_weight, mask, checked=checked, **static, **parameters
        )
    else:
        samples = samples_of(backend, loss, parameters, structure, y_true, y_pred, sample_weight, mask, inputs)
        gradient, curvature = _CURVATURES[hessian](backend, samples, form)
        counts = samples.counts_of_entries / structure.averaged
        if spec is None and hessian == "exact" and floor is None and _is_straight(backend, gradient, curvature):
            raise _straight(loss.name or type(loss).__name__)
        if floor is not None:
            curvature = raised(curvature, counts * floor, axis, form)
        if scales != (1.0, 1.0):
            gradient, curvature = gradient * scales[0], curvature * scales[1]
    shape, dtype = tuple(y_pred.shape), backend.dtype(y_pred)
    gradient, curvature = backend.cast(gradient, dtype), backend.cast(curvature, dtype)
    return K.reshape(gradient, shape), curvature if form == "block" else K.reshape(curvature, shape)


def _is_straight(backend: Backend, gradient: Tensor, curvature: Tensor) -> bool:
    """Whether second derivatives are 0 and first ones are not, if their values can be looked at."""
    if not backend.has_values(curvature):
        return False
    return not backend.to_numpy(K.any(curvature != 0)) and bool(backend.to_numpy(K.any(gradient != 0)))


# ── Each curvature, by automatic differentiation ────────────────────────────────────────────────────────────────


def _exact(backend: Backend, samples: Samples, form: Form) -> tuple[Tensor, Tensor]:
    return by_autodiff(backend, samples.total, samples.y_pred, samples.structure, form)


def _values_and_gradient(backend: Backend, samples: Samples, y_true: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and the gradient of their sum, without weights."""

    def summed(leaves: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        values = samples.values(y_true, leaves[0])
        return K.sum(values), [values]

    _, (values,), (gradient,) = backend.value_and_grad(summed, [samples.y_pred])
    return values, gradient


def _fisher(backend: Backend, samples: Samples, form: Form) -> tuple[Tensor, Tensor]:
    def gradient_for(y_true: Tensor) -> Tensor:
        return _values_and_gradient(backend, samples, y_true)[1]

    information = fisher(gradient_for, samples, form)
    return gradient_for(samples.y_true) * samples.counts_of_entries, information


def _gauss_newton(backend: Backend, samples: Samples, form: Form) -> tuple[Tensor, Tensor]:
    special = [name for name, value in samples.parameters.items() if name in _OF_ENTRIES and value is not None]
    if special and samples.structure.axis is None:
        raise NotSupportedError(
            f"hessian='gauss_newton' needs the value of each entry of y_pred, and {special[0]}= acts on their mean. "
            "Use hessian='exact' or 'fisher', or sample_weight."
        )
    samples = by_entry(samples)
    values, gradient = _values_and_gradient(backend, samples, samples.y_true)
    at_zero: Tensor = 0.0
    if samples.spec is None or samples.spec.curved:
        at_zero = _exact(backend, samples, form)[1]
    return gradient * samples.counts_of_entries, gauss_newton(backend, values, gradient, at_zero, samples, form)


_OF_ENTRIES = ("class_weight", "pos_weight", "ignore_class")


def _constant(backend: Backend, samples: Samples, form: Form) -> tuple[Tensor, Tensor]:
    counts = samples.counts_of_entries
    _, gradient = _values_and_gradient(backend, samples, samples.y_true)
    ones = identity(samples.y_pred, counts / samples.structure.averaged, samples.structure, form)
    return gradient * counts, ones


_CURVATURES: Mapping[str, Callable[[Backend, Samples, Form], tuple[Tensor, Tensor]]] = {
    "exact": _exact,
    "fisher": _fisher,
    "gauss_newton": _gauss_newton,
    "constant": _constant,
}
