"""What an objective remembers: averages over batches."""

import numpy as np
import pytest
from multiloss import Objective, losses, metrics, regularizers, use_backend
from multiloss import backend as K
from multiloss._errors import ArgumentError
from tests.objective.common import MAE, MSE, P, Y


def batches(sizes):
    rng = np.random.default_rng(0)
    y, p = rng.random((sum(sizes), 2)).astype("float32"), rng.random((sum(sizes), 2)).astype("float32")
    weight = rng.random(sum(sizes)).astype("float32")
    mask = rng.random(sum(sizes)) > 0.4
    return [np.split(each, np.cumsum(sizes)[:-1]) for each in (y, p, weight, mask)]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight"])
@pytest.mark.parametrize("used", [(), ("sample_weight",), ("mask",), ("sample_weight", "mask")])
def test_the_average_over_unequal_batches_is_that_of_all_samples(tensor, host, reduction, used):
    objective = Objective(losses.MeanSquaredError(reduction=reduction), metrics=["mae"], weighted_metrics=["mse"])
    split, whole = batches([5, 1, 7, 3]), batches([16])
    for y, p, weight, mask in zip(*split, strict=True):
        given = {"sample_weight": tensor(weight), "mask": tensor(mask)}
        objective.update_metrics(tensor(y), tensor(p), **{key: given[key] for key in used})
    results = {name: float(host(value)) for name, value in objective.results().items()}
    y, p, weight, mask = (tensor(each[0]) for each in whole)
    given = {key: {"sample_weight": weight, "mask": mask}[key] for key in used}
    objective.reset()
    objective.update_metrics(y, p, **given)
    assert results == pytest.approx({name: float(host(value)) for name, value in objective.results().items()}, rel=1e-5)
    assert results["loss"] == pytest.approx(float(host(objective(y, p, **given))), rel=1e-5)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("loss", "average"),
    [
        ("mse", (1.0 + 1.0 + 4.0) / 3),
        (losses.MeanSquaredError(reduction="sum"), None),
        (lambda y_true, y_pred: K.mean(K.square(y_true - y_pred)), (1.0 + 1.0 + 4.0) / 3),
    ],
)
def test_batches_count_by_their_rows(tensor, host, loss, average, column):
    objective = Objective(loss)
    totals = []
    for y_true, y_pred in (([0.0, 0.0], [1.0, 1.0]), ([0.0], [2.0])):
        y_true, y_pred = ([[each] for each in x] if column else x for x in (y_true, y_pred))
        totals.append(float(host(objective(tensor(y_true), tensor(y_pred)))))
        objective.update_metrics(tensor(y_true), tensor(y_pred))
    expected = (2 * totals[0] + totals[1]) / 3 if average is None else average
    assert float(host(objective.results()["loss"])) == pytest.approx(expected)


def test_total_is_the_weighted_sum_of_the_averages(tensor, host):
    objective = Objective(
        {"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 0.5}, regularizers={"w": regularizers.L2(1.0)}
    )
    for w in (1.0, 3.0):
        objective.update_metrics(
            {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}, parameters={"w": tensor([w])}
        )
    results = {name: float(host(value)) for name, value in objective.results().items()}
    assert results == pytest.approx(
        {"loss": 2 * MSE + 0.5 * MAE + 5.0, "a_loss": MSE, "b_loss": MAE, "regularization": 5.0}, rel=1e-5
    )


def test_metrics_never_see_weights_and_weighted_metrics_do(tensor, shown):
    objective = Objective("mse", metrics=["acc"], weighted_metrics=["accuracy"])
    results = shown(objective, tensor(Y), tensor(P), sample_weight=tensor([1.0, 1.0, 2.0, 0.0]))
    assert results["acc"] == pytest.approx(0.75)
    assert results["accuracy"] == pytest.approx(0.5)


def test_a_mask_hides_samples_from_all_metrics(tensor, shown):
    objective = Objective("mse", metrics=["acc"], weighted_metrics=["accuracy"])
    results = shown(objective, tensor(Y), tensor(P), mask=tensor([True, False, True, False]))
    assert results["acc"] == results["accuracy"] == pytest.approx(0.5)
    assert results["loss"] == pytest.approx((0.0625 + 0.25) / 2)


def test_temporal_weights_reach_weighted_metrics(tensor, shown):
    y, p = np.zeros((2, 2, 1), "float32"), np.array([[[1.0], [2.0]], [[3.0], [4.0]]], "float32")
    objective = Objective("mse", weighted_metrics=["mae"], sample_weight_mode="temporal")
    weight = tensor([[1.0, 0.0], [0.0, 3.0]])
    assert shown(objective, tensor(y), tensor(p), sample_weight=weight)["mae"] == pytest.approx(13.0 / 4.0)


def test_reset_forgets_all_batches(tensor, shown):
    objective = Objective("mse", metrics=["mae"], regularizers={"w": "l2"})
    first = shown(objective, tensor(Y), tensor(P), parameters={"w": tensor([1.0])})
    shown(objective, tensor(Y), tensor(Y), parameters={"w": tensor([100.0])})
    for forget in (objective.reset, objective.reset_state):
        forget()
        assert shown(objective, tensor(Y), tensor(P), parameters={"w": tensor([1.0])}) == first


def test_metrics_alone_are_shown_without_a_loss(tensor, shown):
    assert shown(Objective(None, metrics=["mae"]), tensor(Y), tensor(P)) == pytest.approx({"mae": MAE})


def test_results_before_the_first_batch_are_an_error():
    with pytest.raises(ArgumentError, match="No batch has been seen yet"):
        Objective("mse").results()


def test_a_batch_with_other_outputs_is_refused(tensor):
    objective = Objective("mse")
    objective.update_metrics(tensor(Y), tensor(P))
    with pytest.raises(ArgumentError, match="has the outputs a, b, and earlier ones had output"):
        objective.update_metrics({"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})


@pytest.mark.backends("torch")
def test_averages_hold_no_graph(tensor, xp):
    p = tensor(P).requires_grad_()
    w = tensor([1.0]).requires_grad_()
    objective = Objective("mse", metrics=["mae"], weighted_metrics=["mse"], regularizers={"w": "l2"})
    objective.update_metrics(tensor(Y), p, parameters={"w": w})
    assert not any(value.requires_grad for value in objective.results().values())
    assert objective(tensor(Y), p, parameters={"w": w}).requires_grad


def test_host_data_joins_the_averages_of_a_framework(tensor, host, backend):
    objective = Objective("mse", metrics=["mae"], regularizers={"w": "l2"})
    objective.update_metrics(tensor(Y), tensor(P), parameters={"w": tensor([1.0])})
    before = objective.results()
    with use_backend("numpy"):
        objective.update_metrics(np.array(Y), np.array(P), parameters={"w": np.array([1.0])})
        after = objective.results()
    assert all(isinstance(value, backend.tensor_types) for value in after.values())
    for name, value in before.items():
        assert float(host(after[name])) == pytest.approx(float(host(value)))


# ── A batch is taken in wholly or not at all ────────────────────────────────────────────────────────────────────


class RaisesOnThird(metrics.Metric):
    """A metric in Keras' style that has assigned one of its variables before it raises."""

    def __init__(self, name="raises"):
        super().__init__(name=name)
        self.seen = self.add_weight(name="seen")
        self.inner = metrics.Mean()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign_add(1.0)
        self.inner.update_state(y_pred)
        if float(self.seen.value) == 3.0:
            raise ValueError("the third batch")

    def result(self):
        return self.inner.result() + self.seen.value


class PlainAttributes(metrics.Metric):
    """A metric that keeps a Python number, as users write them."""

    def __init__(self, name="batches"):
        super().__init__(name=name)
        self.batches = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.batches += 1

    def result(self):
        return K.asarray(float(self.batches))


def test_a_batch_that_a_metric_refuses_changes_no_tracker(tensor, host):
    objective = Objective(
        {"a": "mse", "b": "mae"},
        metrics={"a": ["mae", PlainAttributes()], "b": [RaisesOnThird()]},
        weighted_metrics={"b": ["mse"]},
        regularizers={"w": "l2"},
    )
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    for w in (1.0, 2.0):
        objective.update_metrics(y, p, parameters={"w": tensor([w])})
    before = {name: float(host(value)) for name, value in objective.results().items()}
    states = [metric.state for metric in objective.metrics.values()]
    with pytest.raises(ValueError, match="the third batch"):
        objective.update_metrics(y, {"a": tensor(Y), "b": tensor(Y)}, parameters={"w": tensor([9.0])})
    assert {name: float(host(value)) for name, value in objective.results().items()} == before
    assert all(now is then for now, then in zip((m.state for m in objective.metrics.values()), states, strict=True))


def test_a_first_batch_that_is_refused_decides_nothing(tensor, shown):
    objective = Objective("mse", metrics=["accuracy", "AUC"])
    with pytest.raises(ArgumentError, match="from_logits=True"):
        objective.update_metrics(tensor([[0.0, 1.0], [1.0, 0.0]]), tensor([[0.5, 1.5], [0.25, 0.5]]))
    assert objective.metrics == {}
    with pytest.raises(ArgumentError, match="No batch has been seen yet"):
        objective.results()
    results = shown(objective, tensor(Y), tensor(P))
    assert isinstance(objective.metrics["accuracy"], metrics.BinaryAccuracy)
    assert results["loss"] == pytest.approx(MSE, rel=1e-5)


def test_a_later_batch_of_a_dict_may_come_in_another_order(tensor, shown):
    objective = Objective({"b": "mse", "a": "mae"}, loss_weights={"b": 3.0})
    first = shown(objective, {"b": tensor(Y), "a": tensor(Y)}, {"b": tensor(P), "a": tensor(P)})
    again = shown(objective, {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})
    assert list(first) == list(again) == ["loss", "b_loss", "a_loss"]
    assert again == pytest.approx(first)
