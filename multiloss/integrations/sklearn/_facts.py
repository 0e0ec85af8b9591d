"""What a loss or metric expects from an estimator, and which way is better."""

from __future__ import annotations

from typing import Any, NamedTuple

from multiloss import losses, metrics
from multiloss._errors import ArgumentError, NotSupportedError
from multiloss.integrations.sklearn import _classification, _probabilities, _rankings, _regression
from multiloss.losses import Loss
from multiloss.losses._spec import LossSpec
from multiloss.metrics import Metric

PREDICT = ("predict",)
PROBABILITY = ("predict_proba",)
DECISION = ("decision_function",)
RANKING = ("decision_function", "predict_proba")


class Expectation(NamedTuple):
    """What is compared with what."""

    target: str
    """`"values"` (as they are), `"binary"` (1 for the positive class), `"sign"` (-1 and 1), `"one-hot"` or `"index"`."""
    responses: tuple[str, ...]
    """The estimator's methods that give such predictions, the first that it has is called; none if none does."""
    greater_is_better: bool | None
    """None if it is not known."""


def of_loss(spec: LossSpec, parameters: Any, greater_is_better: bool | None) -> Expectation:
    """Return what the facts declared beside a loss or accuracy say."""
    from_logits = bool(parameters.get("from_logits", False))
    kind = spec.prediction
    if kind == "embedding":
        responses: tuple[str, ...] = ()
    elif kind in ("margin", "logits") or (kind == "real" and spec.target == "one-hot"):
        responses = DECISION
    elif kind in ("real", "positive", "label"):
        responses = PREDICT
    else:
        responses = DECISION if from_logits and kind.endswith(("logit", "logits")) else PROBABILITY
    target = {"one-hot": "one-hot", "class index": "index", "sign": "sign", "probability": "binary"}.get(
        spec.target, "values"
    )
    if spec.target == "probability" and spec.event == "joint":
        target = "one-hot"
    elif spec.target == "sign" and responses == PROBABILITY:
        target = "binary"
    return Expectation(target, responses, greater_is_better)


_HIGHER = (
    metrics.AUC,
    metrics.Precision,
    metrics.Recall,
    metrics.TruePositives,
    metrics.TrueNegatives,
    metrics.SensitivityAtSpecificity,
    metrics.SpecificityAtSensitivity,
    metrics.PrecisionAtRecall,
    metrics.RecallAtPrecision,
)
_OF_CLASSES = (metrics.FBetaScore, metrics.OneHotIoU, metrics.OneHotMeanIoU)
_OF_LABELS = (metrics.IoU, metrics.MeanIoU)
_OF_VALUES = (metrics.R2Score, metrics.PearsonCorrelation, metrics.ConcordanceCorrelation)


def of_metric(metric: Metric) -> Expectation:
    """Return what a metric expects; that of a metric of one's own is not known."""
    if isinstance(metric, _OF_VALUES):
        return Expectation("values", PREDICT, True)
    if isinstance(metric, metrics.RootMeanSquaredError):
        return Expectation("values", PREDICT, False)
    if isinstance(metric, metrics.MeanMetricWrapper):
        spec, parameters = metric._facts()
        return Expectation("values", PREDICT, None) if spec is None else of_loss(spec, parameters, _is_score(spec))
    if isinstance(metric, _OF_CLASSES):
        return Expectation("one-hot", PROBABILITY, True)
    if isinstance(metric, metrics.BinaryIoU):
        return Expectation("binary", PROBABILITY, True)
    if isinstance(metric, _OF_LABELS) and not isinstance(metric, _OF_CLASSES):
        return Expectation("index", PREDICT, True)
    if isinstance(metric, (*_HIGHER, metrics.FalsePositives, metrics.FalseNegatives)):
        responses = DECISION if getattr(metric, "from_logits", False) else PROBABILITY
        return Expectation("binary", responses, isinstance(metric, _HIGHER))
    return Expectation("values", PREDICT, None)


def _is_score(spec: LossSpec) -> bool:
    """Whether it is one of our accuracies, correlations or similarities, and no loss."""
    named = spec.name in metrics.__all__ and getattr(getattr(metrics, spec.name), "__multiloss__", None) is spec
    return (
        named
        and spec.name != "cosine_proximity"
        and getattr(losses, spec.name, None) is not getattr(metrics, spec.name)
    )


_SCORES = {
    **dict.fromkeys(("roc_auc_score", "average_precision_score"), (RANKING, True)),
    "log_loss": (PROBABILITY, False),
    "brier_score_loss": (PROBABILITY, False),
    "top_k_accuracy_score": (RANKING, True),
}


def of_function(function: Any) -> Expectation | None:
    """Return what one of the functions of this package expects; None for any other."""
    name = getattr(function, "__name__", "")
    for module in (_regression, _classification, _probabilities, _rankings):
        if name in module.__all__ and getattr(module, name) is function:
            if name in ("confusion_matrix", "precision_recall_fscore_support"):
                raise ArgumentError(f"{name} returns several numbers, and a scorer returns one. Choose another metric.")
            if name in _SCORES:
                responses, greater = _SCORES[name]
                return Expectation("labels", responses, greater)
            greater = not name.endswith(("_error", "_loss"))
            return Expectation("labels" if module is _classification else "values", PREDICT, greater)
    return None


def as_metric(given: Any, parameters: dict[str, Any]) -> Any:
    """Return a metric instance, or a loss whose sum is wanted, for what was given: a name, a function, an instance.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for parameters that cannot act; for a class.
    """
    if isinstance(given, type):
        raise ArgumentError(f"Arrived: the class {given.__name__}. Expected an instance, a function or a name.")
    if isinstance(given, str):
        given = _with_parameters(given, parameters) if parameters else metrics.get(given)
    elif parameters and isinstance(given, (Loss, Metric)):
        raise ArgumentError(
            f"{sorted(parameters)} cannot act on {given!r}, which has parameters of its own. Set them there."
        )
    elif not isinstance(given, (Loss, Metric)):
        if not callable(given):
            raise ArgumentError(f"Arrived: {given!r}. Expected a loss, a metric, a function of them, or a name.")
        given = metrics.MeanMetricWrapper(given, **parameters)
    if isinstance(given, (metrics.Mean, metrics.Sum)):
        raise NotSupportedError(
            f"{given!r} takes values, and a scorer gives targets and predictions. Choose another metric."
        )
    if isinstance(given, Loss):
        if given.reduction == "none":
            raise ArgumentError(
                f"{given!r} returns a value for each sample, and a scorer returns one. Choose a reduction."
            )
        if given.reduction != "sum":
            return metrics.MeanMetricWrapper(given)
    return given


def _with_parameters(name: str, parameters: dict[str, Any]) -> Any:
    found = metrics.get(name)
    if type(found) is metrics.MeanMetricWrapper:  # the name of a function
        return metrics.MeanMetricWrapper(found.fn, **parameters)
    return type(found)(**parameters)
