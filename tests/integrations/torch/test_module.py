"""`as_module`: a loss as torch's own, in loops, compiled, differentiated, copied and with weights that are learned."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from multiloss import backend as K
from multiloss import losses
from multiloss._errors import ArgumentError, NamedInputError, UnknownNameError
from multiloss.integrations.torch import LossModule, as_module
from torch import nn

torch.manual_seed(0)
X, LABELS, TARGETS = torch.randn(12, 5), torch.randint(0, 3, (12,)), torch.randn(12, 3)
SIGNS = torch.randint(0, 2, (12, 3)).float()
TEACHER = torch.randn(12, 3)
WEIGHTS, MASK = torch.rand(12), torch.arange(12) % 4 != 1

# What torch has, too: our loss, torch's, and the targets.
PAIRS = {
    "MSELoss": (losses.MeanSquaredError(), nn.MSELoss(), TARGETS),
    "L1Loss": (losses.MeanAbsoluteError(), nn.L1Loss(), TARGETS),
    "HuberLoss": (losses.Huber(delta=0.7), nn.HuberLoss(delta=0.7), TARGETS),
    "BCEWithLogitsLoss": (losses.BinaryCrossentropy(from_logits=True), nn.BCEWithLogitsLoss(), SIGNS),
    "CrossEntropyLoss": (losses.SparseCategoricalCrossentropy(from_logits=True), nn.CrossEntropyLoss(), LABELS),
    "CrossEntropyLoss, ignoring": (
        losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        nn.CrossEntropyLoss(ignore_index=1),
        LABELS,
    ),
}


class Distillation(losses.Loss):
    def call(self, y_true, y_pred, *, teacher):
        return K.categorical_crossentropy(K.softmax(teacher), y_pred, from_logits=True)


def gaussian_nll(y_true, y_pred, variance):
    return K.mean(0.5 * (K.log(variance) + K.square(y_true - y_pred) / variance), axis=-1)


def ramp(step):
    return step / 10.0


HARD = losses.SparseCategoricalCrossentropy(from_logits=True)
CRITERIA = {
    "a loss": lambda: HARD,
    "a sum": lambda: HARD + 0.5 * losses.SparseCategoricalFocalCrossentropy(from_logits=True),
    "a sum with weights that are learned": lambda: losses.Sum(
        {"a": (HARD, nn.Parameter(torch.tensor(2.0))), "b": (HARD + nn.Parameter(torch.tensor(3.0)) * HARD, 0.5)}
    ),
}


def trained(criterion, targets, steps=20, **named):
    """Return the weights of a linear model after some steps."""
    torch.manual_seed(1)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(model(X), targets, **named).backward()
        optimizer.step()
    return torch.cat([each.detach().ravel() for each in model.parameters()])


@pytest.mark.parametrize("name", PAIRS)
def test_a_loop_trains_the_model_that_torchs_own_loss_trains(name):
    ours, theirs, targets = PAIRS[name]
    torch.testing.assert_close(trained(as_module(ours), targets), trained(theirs, targets), rtol=1e-5, atol=1e-6)


def test_a_sample_weight_is_a_repeated_sample():
    counts = torch.randint(0, 3, (12,))
    criterion = as_module(losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"))
    logits = TEACHER.repeat_interleave(counts, 0)
    torch.testing.assert_close(
        criterion(TEACHER, LABELS, sample_weight=counts.float()),
        nn.CrossEntropyLoss(reduction="sum")(logits, LABELS.repeat_interleave(counts)),
    )


def test_what_is_masked_reaches_neither_value_nor_gradient():
    logits = torch.where(MASK[:, None], TEACHER, torch.nan).requires_grad_()
    value = as_module(HARD)(logits, LABELS, mask=MASK)
    value.backward()
    torch.testing.assert_close(value, nn.CrossEntropyLoss()(TEACHER[MASK], LABELS[MASK]))
    assert logits.grad.isfinite().all()
    assert not logits.grad[~MASK].any()


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_module_compiles_into_one_graph(name, weights):
    criterion = as_module(CRITERIA[name]())
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        step = torch.compile(lambda x, y: criterion(x, y, weights), fullgraph=True, backend="aot_eager")
        for seed in range(2):
            logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)
            (compiled,) = torch.autograd.grad(step(logits, LABELS), logits)
            (eager,) = torch.autograd.grad(criterion(logits, LABELS, weights), logits)
            torch.testing.assert_close(compiled, eager)


def test_autocast_leaves_a_loss_in_full_precision():
    def squared_distance(y_true, y_pred):
        return K.sum((y_pred @ K.moveaxis(y_true, 0, 1)) ** 2, axis=-1)  # a product that autocast would round

    criterion = as_module(squared_distance)
    model = nn.Linear(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(X)
        value = criterion(output, TARGETS)
    assert output.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, criterion(output.float(), TARGETS))


@pytest.mark.parametrize("name", CRITERIA)
def test_torch_func_sees_through_a_module(name):
    criterion, model = as_module(CRITERIA[name]()), nn.Linear(5, 3)
    parameters = {key: each.detach() for key, each in model.named_parameters()}

    def loss(parameters):
        return criterion(torch.func.functional_call(model, parameters, (X,)), LABELS)

    gradients = torch.func.grad(loss)(parameters)
    criterion(model(X), LABELS).backward()
    for key, each in model.named_parameters():
        torch.testing.assert_close(gradients[key], each.grad)


def test_samples_may_be_mapped_over():
    criterion = as_module(HARD)
    gradients = torch.func.vmap(torch.func.grad(criterion))(TEACHER, LABELS)
    probabilities = torch.softmax(TEACHER, -1)
    torch.testing.assert_close(gradients, probabilities - nn.functional.one_hot(LABELS, 3))


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda module: pickle.loads(pickle.dumps(module)),
        lambda module: copy.deepcopy(module).to(torch.float64).to(torch.float32),
        lambda module: module._replicate_for_data_parallel(),  # as DataParallel's replicas start
    ],
    ids=["copied", "pickled", "cast", "replicated"],
)
def test_a_module_is_copied(name, duplicate):
    criterion = as_module(CRITERIA[name]())
    again = duplicate(criterion)
    if duplicate.__name__ == "<lambda>" and not list(again.parameters()):
        for key, each in criterion.named_parameters():  # torch then gives each replica tensors of its own
            setattr(again, key, each.detach().clone())
    torch.testing.assert_close(again(TEACHER, LABELS), criterion(TEACHER, LABELS))


def test_a_module_has_no_state():
    criterion = as_module(CRITERIA["a sum"]())
    assert not criterion.state_dict()
    assert not list(criterion.parameters())


def test_weights_that_are_learned_are_parameters():
    weight = nn.Parameter(torch.tensor(2.0))
    criterion = as_module(losses.Sum({"a.b": (HARD, weight, 0.5), "c": (weight * HARD, torch.tensor(0.25))}))
    assert set(criterion.state_dict()) == {"weight_a_b", "weight_c/sparse_categorical_crossentropy"}
    assert all(each is weight for each in criterion.parameters())
    assert [name for name, _ in criterion.named_buffers()] == ["weight_c"]
    value = criterion(TEACHER, LABELS)
    value.backward()
    hard = nn.CrossEntropyLoss()(TEACHER, LABELS)
    torch.testing.assert_close(value, (2 * 0.5 + 2 * 0.25) * hard)
    torch.testing.assert_close(weight.grad, 0.75 * hard)


def test_weights_are_restored_from_a_checkpoint():
    criterion, other = (as_module(losses.Sum({"a": (HARD, nn.Parameter(torch.tensor(w)))})) for w in (2.0, 5.0))
    other.load_state_dict(criterion.state_dict())
    torch.testing.assert_close(other(TEACHER, LABELS), criterion(TEACHER, LABELS))
    swapped = torch.func.functional_call(criterion, {"weight_a": torch.tensor(4.0)}, (TEACHER, LABELS))
    torch.testing.assert_close(swapped, 2 * criterion(TEACHER, LABELS))


def test_a_weight_may_be_a_module():
    class Exponential(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = nn.Parameter(torch.tensor(0.0))

        def forward(self):
            return self.log.exp()

    criterion = as_module(losses.Sum({"a": (HARD, Exponential())}))
    assert list(criterion.state_dict()) == ["weight_a.log"]
    before = criterion(TEACHER, LABELS)
    trained(criterion, LABELS, steps=3)
    assert criterion(TEACHER, LABELS) < before


def test_uncertainty_weights_learn_to_balance_two_losses():
    log_variance = nn.Parameter(torch.zeros(2))
    criterion = as_module(
        losses.Sum({"hard": (HARD, lambda: torch.exp(-log_variance[0])), "mse": (Distillation(), lambda: 0.1)})
    )
    value = criterion(TEACHER, LABELS, teacher=TEACHER)
    value.backward()
    torch.testing.assert_close(log_variance.grad[0], -nn.CrossEntropyLoss()(TEACHER, LABELS))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("number", [float, torch.tensor])
def test_named_inputs_pass_through(compiled, number):
    torch.compiler.reset()
    criterion = as_module(losses.Sum({"hard": (HARD, ramp), "soft": (Distillation(), 0.7)}))
    assert criterion.named_inputs == ("teacher", "step")
    call = torch.compile(criterion, fullgraph=True, backend="eager") if compiled else criterion
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for step in (3.0, 5.0, 8.0):
            value = call(TARGETS, LABELS, teacher=TEACHER, step=number(step))
            soft = nn.CrossEntropyLoss()(TARGETS, TEACHER.softmax(-1))
            torch.testing.assert_close(value, step / 10 * nn.CrossEntropyLoss()(TARGETS, LABELS) + 0.7 * soft)


def test_a_variance_is_torchs_gaussian_loss():
    variance = TEACHER.exp().requires_grad_()
    value = as_module(gaussian_nll)(TARGETS, SIGNS, variance=variance)
    expected = nn.GaussianNLLLoss()(TARGETS, SIGNS, variance)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(torch.autograd.grad(value, variance), torch.autograd.grad(expected, variance), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_micro_batches_add_up_to_the_batch():
    criterion = as_module(losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0))
    pieces = [criterion.partial(TEACHER[at], LABELS[at]) for at in (slice(0, 5), slice(5, 6), slice(6, 12))]
    total, weight = (sum(each) for each in zip(*pieces, strict=True))
    torch.testing.assert_close(total / weight, nn.CrossEntropyLoss(ignore_index=0)(TEACHER, LABELS))


def test_a_module_reports_the_parts_of_a_sum():
    criterion = as_module(HARD + 0.5 * losses.SparseCategoricalFocalCrossentropy(from_logits=True))
    parts = criterion.parts(TEACHER, LABELS)
    assert list(parts) == ["loss", "sparse_categorical_crossentropy", "sparse_categorical_focal_crossentropy"]
    torch.testing.assert_close(parts["loss"], criterion(TEACHER, LABELS))
    with pytest.raises(ArgumentError, match="has no parts"):
        as_module(HARD).parts(TEACHER, LABELS)


def test_a_module_is_made_of_anything_that_names_a_loss():
    for given in (
        "mse",
        losses.mean_squared_error,
        losses.MeanSquaredError,
        losses.serialize(losses.MeanSquaredError()),
    ):
        torch.testing.assert_close(as_module(given)(TEACHER, TARGETS), nn.MSELoss()(TEACHER, TARGETS))
    module = as_module("mse")
    assert as_module(module) is module
    assert isinstance(module, LossModule)
    assert "mean_squared_error" in repr(module)
    np.testing.assert_allclose(
        module(TEACHER, TARGETS.numpy()).numpy(), nn.MSELoss()(TEACHER, TARGETS).numpy(), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: as_module("mean_sqared_error"), UnknownNameError, "mean_squared_error"),
        (lambda: as_module(None), ArgumentError, "Expected a loss"),
        (lambda: as_module(HARD)(LABELS, TEACHER), ArgumentError, r"seem to be swapped: input holds integers"),
        (lambda: as_module("mse")(TARGETS, nn.Linear(5, 3)(X)), ArgumentError, "target needs a gradient"),
        (lambda: as_module(HARD)(TEACHER, LABELS, teacher=TEACHER), NamedInputError, "got teacher="),
        (lambda: as_module(Distillation())(TEACHER, LABELS), NamedInputError, "needs teacher="),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_without_torch_the_error_names_the_fix():
    code = "import sys; sys.modules['torch'] = None; import multiloss.integrations.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BackendNotFoundError: multiloss.integrations.torch needs PyTorch" in done.stderr
    assert "pip install torch" in done.stderr.splitlines()[-1]
