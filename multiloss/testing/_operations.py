"""One table of cases for the operations of the interface: inputs, and what NumPy gives for them in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from multiloss.testing import _references as references

Array = Any

INF, NAN = float("inf"), float("nan")
LINE = np.array(
    [-INF, -1e4, -30.0, -2.5, -1.0, -0.5, -1e-8, -0.0, 0.0, 1e-8, 0.5, 1.0, 2.5, 30.0, 1e4, INF, NAN],
)
"""Values at which elementwise operations go wrong."""

_rng = np.random.default_rng(0)
SMOOTH = _rng.normal(size=(3, 4))
OTHER = _rng.normal(size=(3, 4))
CUBE = _rng.normal(size=(2, 3, 4))
POSITIVE = _rng.uniform(0.2, 3.0, size=(3, 4))
PROBABILITY = _rng.uniform(0.05, 0.95, size=(3, 4))
SIMPLEX = PROBABILITY / PROBABILITY.sum(-1, keepdims=True)
FLAGS = np.array([[True, False, True], [False, False, True]])


@dataclass(frozen=True)
class OperationCase:
    """One call of one operation. Floating inputs are cast to the dtype under test."""

    operation: str
    about: str
    inputs: tuple[Any, ...]
    reference: Callable[..., Array]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    result: str = "same"
    """The dtype that comes out: that of the floating inputs, `"bool"`, `"integer"`, or a name."""
    smooth: tuple[int, ...] = ()
    """The inputs whose gradient is compared with central differences."""
    packed: bool = False
    """Whether the inputs are passed as one list."""

    def __str__(self) -> str:
        return f"{self.operation}-{self.about}".replace(" ", "_")

    def call(self, operation: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """Return what `operation` gives for the inputs of this case."""
        return operation(list(inputs), **self.keywords) if self.packed else operation(*inputs, **self.keywords)


# ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────────────


def _elementwise() -> Iterator[OperationCase]:
    above_minus_one = LINE[(LINE >= -1) | np.isnan(LINE)]
    unary: dict[str, tuple[Callable[..., Array], Array, Array]] = {
        "abs": (np.abs, LINE, SMOOTH),
        "sign": (np.sign, LINE[~np.isnan(LINE)], SMOOTH),
        "square": (np.square, LINE, SMOOTH),
        "sqrt": (np.sqrt, LINE, POSITIVE),
        "exp": (np.exp, LINE, SMOOTH),
        "expm1": (np.expm1, LINE, SMOOTH),
        "log": (np.log, LINE, POSITIVE),
        "log1p": (np.log1p, above_minus_one, POSITIVE),
        "tanh": (np.tanh, LINE, SMOOTH),
        "sigmoid": (references.sigmoid, LINE, SMOOTH),
        "softplus": (references.softplus, LINE, SMOOTH),
        "log_sigmoid": (lambda x: -references.softplus(-x), LINE, SMOOTH),
        "relu": (lambda x: np.maximum(x, 0.0), LINE, SMOOTH),
    }
    for name, (reference, line, smooth) in unary.items():
        yield OperationCase(name, "edge values", (line,), reference)
        yield OperationCase(name, "matrix", (smooth,), reference, smooth=(0,))
        yield OperationCase(name, "scalar", (smooth[0, 0],), reference)
        yield OperationCase(name, "empty", (np.zeros((0, 3)),), reference)
    for name in ("isnan", "isfinite"):
        yield OperationCase(name, "edge values", (LINE,), getattr(np, name), result="bool")
    yield OperationCase("stop_gradient", "edge values", (LINE,), lambda x: x)
    left, right = (each.ravel() for each in np.meshgrid(LINE, LINE))
    for name in ("maximum", "minimum"):
        numpy_function = getattr(np, name)
        yield OperationCase(name, "edge values", (left, right), numpy_function)
        yield OperationCase(name, "matrices", (SMOOTH, OTHER), numpy_function, smooth=(0, 1))
        yield OperationCase(name, "a number on the right", (LINE, 0.5), numpy_function)
        yield OperationCase(name, "a number on the left", (0.5, SMOOTH), numpy_function, smooth=(1,))
    for exponent in (0.0, 0.5, 1.0, 2.0, 3.7):
        at_least_0 = np.array([0.0, 1e-8, 0.5, 1.0, 2.5, 30.0, INF, NAN])
        yield OperationCase("power", f"exponent {exponent}", (at_least_0, exponent), np.power)
        yield OperationCase("power", f"exponent {exponent} smooth", (POSITIVE, exponent), np.power, smooth=(0,))
    yield OperationCase("power", "matrices", (POSITIVE, OTHER), np.power, smooth=(0, 1))
    yield OperationCase("where", "matrices", (SMOOTH > 0, SMOOTH, OTHER), np.where, smooth=(1, 2))
    yield OperationCase("where", "a number on the right", (SMOOTH > 0, SMOOTH, 0.0), np.where, smooth=(1,))
    yield OperationCase("where", "a number on the left", (SMOOTH > 0, 1.0, SMOOTH), np.where, smooth=(2,))
    for about, bounds in {"both": (-1.0, 0.5), "below": (-1.0, None), "above": (None, 0.5)}.items():
        yield OperationCase("clip", f"{about} edge values", (LINE, *bounds), references.clip)
        yield OperationCase("clip", about, (SMOOTH, *bounds), references.clip, smooth=(0,))
    yield OperationCase("divide_no_nan", "edge values", (left, right), references.divide_no_nan)
    yield OperationCase("divide_no_nan", "matrices", (SMOOTH, OTHER), references.divide_no_nan, smooth=(0, 1))
    yield OperationCase("multiply_no_nan", "edge values", (left, right), references.multiply_no_nan)
    yield OperationCase("multiply_no_nan", "matrices", (SMOOTH, OTHER), references.multiply_no_nan, smooth=(0, 1))


# ── Reductions, sorting, selecting ──────────────────────────────────────────────────────────────────────────────


def _reductions() -> Iterator[OperationCase]:
    axes: list[Any] = [None, 0, -1, (0, 2), (-1, 0)]
    many = np.linspace(-1.0, 1.0, 5000).reshape(500, 10)
    many[7, 3] = NAN
    for name in ("sum", "mean", "max", "min"):
        yield OperationCase(name, "one nan among many", (many,), getattr(np, name), {"axis": -1})
        for axis in axes:
            keywords = {"axis": axis, "keepdims": axis in (None, (0, 2))}
            yield OperationCase(name, f"axis {axis}", (CUBE,), getattr(np, name), keywords, smooth=(0,))
            keywords = {"axis": axis, "keepdims": not keywords["keepdims"]}
            yield OperationCase(name, f"axis {axis} otherwise", (CUBE,), getattr(np, name), keywords)
        yield OperationCase(name, "scalar", (np.float64(2.5),), getattr(np, name))
        with_nan = np.array([[1.0, NAN], [INF, 2.0], [-INF, -INF]])
        yield OperationCase(name, "not finite", (with_nan,), getattr(np, name), {"axis": -1})
    yield OperationCase("sum", "nothing", (np.zeros((0, 3)),), np.sum, {"axis": 0})
    yield OperationCase("sum", "integers", (np.array([1, 2, 3], np.int32),), np.sum, result="integer")
    yield OperationCase("sum", "booleans", (FLAGS,), np.sum, {"axis": -1}, result="integer")
    for name in ("any", "all"):
        for axis in (None, 0, -1):
            yield OperationCase(name, f"axis {axis}", (FLAGS,), getattr(np, name), {"axis": axis}, result="bool")
        kept = {"axis": 0, "keepdims": True}
        yield OperationCase(name, "keepdims", (FLAGS,), getattr(np, name), kept, result="bool")
        yield OperationCase(name, "nothing", (np.zeros((0, 2), bool),), getattr(np, name), {"axis": 0}, result="bool")
    for axis in (-1, (0, 1), (1, -1)):
        for keepdims in (False, True):
            keywords = {"axis": axis, "keepdims": keepdims}
            yield OperationCase(
                "logsumexp", f"axis {axis} {keepdims}", (CUBE,), references.logsumexp, keywords, smooth=(0,)
            )
    extremes = np.array([[1e4, 1e4, -1e4], [-INF, 0.0, 1.0], [-INF, -INF, -INF], [INF, 0.0, 1.0], [NAN, 0.0, 1.0]])
    yield OperationCase("logsumexp", "edge values", (extremes,), references.logsumexp)
    tied = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, -1.0, 2.0]])
    for axis in (-1, 0):
        yield OperationCase("argmax", f"axis {axis}", (tied,), np.argmax, {"axis": axis}, result="integer")
        yield OperationCase("cumsum", f"axis {axis}", (CUBE,), np.cumsum, {"axis": axis}, smooth=(0,))
        yield OperationCase("argsort", f"axis {axis}", (tied,), references.argsort, {"axis": axis}, result="integer")
    repeated = np.array([[1, 1, 0], [3, 2, 2], [0, 0, 0]])
    yield OperationCase(
        "take_along_axis", "repeated indices", (SMOOTH, repeated), np.take_along_axis, {"axis": -1}, smooth=(0,)
    )
    first = np.array([[0, 2, 1, 1]])
    yield OperationCase("take_along_axis", "axis 0", (SMOOTH, first), np.take_along_axis, {"axis": 0}, smooth=(0,))
    edges = np.array([0.0, 0.5, 0.5, 1.0])
    values = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
    for side in ("left", "right"):
        yield OperationCase(
            "searchsorted", side, (edges, values), np.searchsorted, {"side": side}, result="integer"
        )  # fmt: skip
    segments = np.array([2, 0, 2, 3])
    numbers = SMOOTH[0]
    yield OperationCase(
        "segment_sum", "floats", (numbers, segments), references.segment_sum, {"num_segments": 5}, smooth=(0,)
    )  # fmt: skip
    flags = np.array([True, True, True, False])
    yield OperationCase(
        "segment_sum", "booleans", (flags, segments), references.segment_sum, {"num_segments": 4}, result="integer"
    )
    yield OperationCase("bincount", "gaps", (segments,), lambda x, num_bins: np.bincount(x, minlength=num_bins),
        {"num_bins": 5}, result="integer")  # fmt: skip
    yield from _rankings()


def _rankings() -> Iterator[OperationCase]:
    positive = np.arange(23) % 3 > 0
    counts, weights = np.arange(23) % 2, np.where(np.arange(23) % 2, 0.0, _rng.uniform(size=23))
    unweighted, one_kind = np.zeros(23), np.ones(23, bool)
    for about, scores in (("ties", _rng.integers(-2, 3, 23) / 2), ("apart", _rng.normal(size=23))):
        for what, w in (("counts", unweighted), ("weights", weights)):
            inputs = (scores, positive, counts, w)
            yield OperationCase("ranked_counts", f"{about} {what}", inputs, references.ranked_counts)
            yield OperationCase("roc_area", f"{about} {what}", inputs, references.roc_area)
        yield OperationCase("roc_area", about, (scores, positive, None, None), references.roc_area)
    yield OperationCase("roc_area", "one kind", (scores, one_kind, counts, weights), lambda *x: np.array(0.0))
    nothing = scores[:0], one_kind[:0], counts[:0], weights[:0]
    yield OperationCase("ranked_counts", "nothing", nothing, lambda *x: np.zeros((2, 1)))


# ── Shape and creation ──────────────────────────────────────────────────────────────────────────────────────────


def _shapes() -> Iterator[OperationCase]:
    ones = SMOOTH[:, None, :, None]
    singles: list[tuple[str, Array, Callable[..., Array], list[dict[str, Any]]]] = [
        ("reshape", CUBE, references.reshape, [{"shape": (6, 4)}, {"shape": (-1,)}, {"shape": (4, -1, 2)}]),
        ("expand_dims", SMOOTH, np.expand_dims, [{"axis": 0}, {"axis": -1}, {"axis": 1}]),
        ("squeeze", ones, np.squeeze, [{}, {"axis": -1}, {"axis": (1, 3)}]),
        ("broadcast_to", SMOOTH[:, None], np.broadcast_to, [{"shape": (3, 2, 4)}, {"shape": (2, 3, 2, 4)}]),
        ("moveaxis", CUBE, np.moveaxis, [{"source": 0, "destination": -1}, {"source": -1, "destination": 1}]),
    ]
    for name, x, reference, variants in singles:
        for keywords in variants:
            about = " ".join(str(value) for value in keywords.values()) or "all"
            yield OperationCase(name, about, (x,), reference, keywords, smooth=(0,))
    yield OperationCase("reshape", "to a scalar", (SMOOTH[:1, :1],), references.reshape, {"shape": ()})
    for name, reference in (("concatenate", np.concatenate), ("stack", np.stack)):
        for axis in (0, -1):
            yield OperationCase(
                name, f"axis {axis}", (SMOOTH, OTHER), reference, {"axis": axis}, smooth=(0, 1), packed=True
            )
    yield OperationCase("zeros_like", "matrix", (SMOOTH,), np.zeros_like)
    yield OperationCase("ones_like", "matrix", (SMOOTH,), np.ones_like)
    yield OperationCase("zeros_like", "as booleans", (SMOOTH,), np.zeros_like, {"dtype": "bool"}, result="bool")
    yield OperationCase("ones_like", "as int32", (SMOOTH,), np.ones_like, {"dtype": "int32"}, result="int32")
    indices = np.array([[0, 2], [1, 3], [-1, 0]])
    for axis in (-1, 0, 1):
        keywords = {"num_classes": 3, "axis": axis}
        yield OperationCase("one_hot", f"axis {axis}", (indices,), references.one_hot, keywords, result="float32")
    yield OperationCase(
        "one_hot", "as int32", (indices,), references.one_hot, {"num_classes": 3, "dtype": "int32"}, result="int32"
    )
    narrow = np.array([7, 127], "int8")
    yield OperationCase("one_hot", "narrow", (narrow,), references.one_hot, {"num_classes": 300}, result="float32")
    yield OperationCase("one_hot", "scalar", (np.int64(1),), references.one_hot, {"num_classes": 3}, result="float32")


# ── What losses are made of ─────────────────────────────────────────────────────────────────────────────────────


def _composed() -> Iterator[OperationCase]:
    for axis in (-1, 0):
        keywords = {"axis": axis}
        yield OperationCase("log_softmax", f"axis {axis}", (SMOOTH,), references.log_softmax, keywords, smooth=(0,))
        yield OperationCase(
            "softmax",
            f"axis {axis}",
            (SMOOTH,),
            lambda x, axis: np.exp(references.log_softmax(x, axis)),
            keywords,
            smooth=(0,),
        )
        yield OperationCase("l2_normalize", f"axis {axis}", (SMOOTH,), references.l2_normalize, keywords, smooth=(0,))
        yield OperationCase("cosine", f"axis {axis}", (SMOOTH, OTHER), references.cosine, keywords, smooth=(0, 1))
        yield OperationCase(
            "normalized_probabilities", f"axis {axis}", (PROBABILITY,), references.normalized, keywords, smooth=(0,)
        )
        for from_logits, output in ((False, PROBABILITY), (True, SMOOTH)):
            flags = {"from_logits": from_logits, "axis": axis}
            yield OperationCase(
                "categorical_crossentropy", f"{from_logits} axis {axis}", (SIMPLEX, output), references.categorical, flags,
                smooth=(0, 1),
            )  # fmt: skip
            labels = np.array([0, 2, 1]) if axis == -1 else np.array([0, 2, 1, 1])
            yield OperationCase(
                "sparse_categorical_crossentropy", f"{from_logits} axis {axis}", (labels, output), references.sparse, flags,
                smooth=(1,),
            )  # fmt: skip
    far = np.array([[1e4, -1e4, 0.0], [-INF, 0.0, 1.0]])
    hot = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    yield OperationCase("log_softmax", "edge values", (far,), references.log_softmax)
    yield OperationCase(
        "categorical_crossentropy", "edge values", (hot, far), references.categorical, {"from_logits": True}
    )
    yield OperationCase(
        "sparse_categorical_crossentropy",
        "edge values",
        (np.array([1, 2]), far),
        references.sparse,
        {"from_logits": True},
    )
    yield OperationCase("normalized_probabilities", "zeros", (np.zeros((2, 3)),), references.normalized)
    tiny_and_huge = np.array([[3e-30, 4e-30], [3e30, 4e30], [0.0, 0.0]])
    normal = np.array([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    yield OperationCase("l2_normalize", "tiny huge and zero", (tiny_and_huge,), lambda x: normal)
    other = np.array([[4.0, 3.0], [-3.0, -4.0], [1.0, 2.0]])
    yield OperationCase("cosine", "tiny huge and zero", (tiny_and_huge, other), lambda *_: np.array([0.96, -1.0, 0.0]))
    for delta in (0.5, 1.0, 3.0):
        yield OperationCase(
            "huber", f"delta {delta}", (OTHER, SMOOTH), references.huber, {"delta": delta}, smooth=(0, 1)
        )
    steps = np.array([0.0, 1.0, -1.0, 1e-6, 1e15, -INF, INF, NAN])
    yield OperationCase("huber", "edge values", (np.zeros(8), steps), references.huber)
    yield OperationCase("log_cosh", "values", (SMOOTH,), references.log_cosh, smooth=(0,))
    sizes = np.array([0.0, 1e-8, 1e-4, 0.499, 0.5, 0.501, 1.0, 19.9, 20.1, 1e4, INF, NAN])
    yield OperationCase("log_cosh", "edge values", (np.concatenate([sizes, -sizes]),), references.log_cosh)
    targets = np.tile(np.array([0.0, 0.3, 1.0]), 15)
    logits = np.repeat(LINE[~np.isnan(LINE)], 3)[: len(targets)]
    yield OperationCase(
        "binary_crossentropy",
        "logits edge values",
        (targets, logits),
        references.binary_crossentropy,
        {"from_logits": True},
    )
    for from_logits, output in ((False, PROBABILITY), (True, SMOOTH)):
        yield OperationCase(
            "binary_crossentropy", f"from_logits {from_logits}", (SIMPLEX, output), references.binary_crossentropy,
            {"from_logits": from_logits}, smooth=(0, 1),
        )  # fmt: skip
    yield from _over_classes()
    yield from _sequences()
    scores = np.array([[0.1, 0.9, 0.5, 0.5], [0.5, 0.5, 0.5, 0.0], [NAN, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]])
    for k in (1, 2, 3):
        chosen = (np.array([2, 1, 0, 1]), scores)
        yield OperationCase("in_top_k", f"k {k}", chosen, references.in_top_k, {"k": k}, result="bool")


def _over_classes() -> Iterator[OperationCase]:
    labels = np.array([0, 3, 1])
    some = np.array([2.0, 0.0, 0.5])
    beyond = np.where(some[:, None] == 0, NAN, SMOOTH)  # of that row nothing may arrive
    weight, bias = OTHER, np.array([0.5, -0.5, 0.0])
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "smoothed": {"label_smoothing": 0.1},
        "z_loss": {"z_loss": 0.01},
        "softcap": {"softcap": 1.5},
        "everything": {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 1.5},
    }
    softmax, linear = "softmax_crossentropy", "linear_crossentropy"
    for (about, given), total in itertools.product(options.items(), (False, True)):
        keywords = {"total": total, **given}
        for kind, target, classes in (("sparse", labels, labels % 3), ("soft", SIMPLEX, SIMPLEX[:, :3])):
            name = f"{about} {kind} {'total' if total else 'rows'}"
            yield OperationCase(softmax, name, (target, SMOOTH), references.softmax_crossentropy, keywords, smooth=(1,))
            yield OperationCase(
                linear,
                name,
                (classes, SMOOTH, weight, bias),
                references.linear_crossentropy,
                keywords,
                smooth=(1, 2, 3),
            )
            weighted = f"{name} of weighted rows"
            if kind == "soft":
                target, classes = (np.where(some[:, None] == 0, NAN, each) for each in (target, classes))
            yield OperationCase(softmax, weighted, (target, beyond, some), references.softmax_crossentropy, keywords)
            inputs = (classes, beyond, weight, bias, some)
            yield OperationCase(linear, weighted, inputs, references.linear_crossentropy, keywords, smooth=(2, 3))
    for total in (False, True):
        name, unknown = f"no row counts {'total' if total else 'rows'}", np.full_like(SMOOTH, NAN)
        yield OperationCase(softmax, name, (labels, unknown, 0.0), references.softmax_crossentropy, {"total": total})
        hidden = (labels % 3, unknown, weight, bias, 0.0)
        yield OperationCase(linear, name, hidden, references.linear_crossentropy, {"total": total}, smooth=(2, 3))
    far = np.array([[1e4, -1e4, 0.0], [-INF, 0.0, 1.0]])
    yield OperationCase(softmax, "edge values", (np.array([1, 2]), far), references.softmax_crossentropy)
    cube = np.array([[0, 1, 2], [3, 0, 1]])
    yield OperationCase(softmax, "leading axes", (cube, CUBE), references.softmax_crossentropy, smooth=(1,))
    narrow, columns = np.array([0, 127], "int8"), np.linspace(-2.0, 2.0, 600).reshape(2, 300)
    yield OperationCase(softmax, "narrow labels", (narrow, columns), references.softmax_crossentropy, smooth=(1,))
    states = (narrow, SMOOTH[:2, :2], columns.T)
    yield OperationCase(linear, "narrow labels", states, references.linear_crossentropy, smooth=(1, 2))
    yield OperationCase(softmax, "no rows", (labels[:0], SMOOTH[:0]), references.softmax_crossentropy)
    nothing = (labels[:0], SMOOTH[:0], weight)
    yield OperationCase(linear, "no rows", nothing, references.linear_crossentropy, {"total": True}, smooth=(1, 2))
    chunks = {"memory_budget": 24}
    yield OperationCase(
        linear,
        "leading axes and chunks",
        (cube % 3, CUBE, weight),
        references.linear_crossentropy,
        chunks,
        smooth=(1, 2),
    )


def _sequences() -> Iterator[OperationCase]:
    state, xs = SMOOTH[0], np.stack([SMOOTH[1], OTHER[0], OTHER[1]])
    yield OperationCase("scan", "vectors", (references.step, state, xs), references.scan, smooth=(1, 2))
    yield OperationCase("scan", "one step", (references.step, state, xs[:1]), references.scan, smooth=(1, 2))
    yield OperationCase("scan", "no step", (references.step, state, xs[:0]), references.scan)
    labels = np.array([[1, 2, 0], [1, 1, 2], [2, 0, 0], [2, 1, 2], [1, 0, 0]])
    logits = np.random.default_rng(2).normal(size=(5, 4, 3))
    lengths = np.array([2, 2, 1, 3, 0]), np.array([4, 3, 1, 4, 2])
    sequences = (labels, logits, *lengths)
    yield OperationCase("ctc_loss", "several lengths", sequences, references.ctc_loss, smooth=(1,))
    last = (2 - labels, logits, *lengths)
    yield OperationCase("ctc_loss", "blank is the last class", last, references.ctc_loss, {"blank": 2}, smooth=(1,))
    impossible = (labels, logits, np.array([2, 2, 1, 3, 0]), np.array([1, 2, 0, 2, 0]))
    yield OperationCase("ctc_loss", "impossible alignments", impossible, references.ctc_loss)
    far = (labels, 1e4 * np.sign(logits), *lengths)
    yield OperationCase("ctc_loss", "far logits", far, references.ctc_loss)
    yield OperationCase(
        "ctc_loss", "no labels", (labels[:, :0], logits, 0 * lengths[0], lengths[1]), references.ctc_loss
    )


def operation_cases() -> list[OperationCase]:
    """Return the cases of every operation that takes tensors and gives one."""
    return [*_elementwise(), *_reductions(), *_shapes(), *_composed()]
