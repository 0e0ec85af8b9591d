"""A Lightning module trains with a multiloss loss as it does with torch's."""

from __future__ import annotations

import lightning
import pytest
import torch
from multiloss import backend as K
from multiloss import losses
from multiloss.integrations.torch import as_module
from torch import nn

torch.manual_seed(0)
X, LABELS = torch.randn(24, 5), torch.randint(0, 3, (24,))
WEIGHTS, TEACHER = torch.rand(24), torch.randn(24, 3)
HARD = losses.SparseCategoricalCrossentropy(from_logits=True)


class Distillation(losses.Loss):
    def call(self, y_true, y_pred, *, teacher):
        return K.categorical_crossentropy(K.softmax(teacher), y_pred, from_logits=True)


class Classifier(lightning.LightningModule):
    def __init__(self, criterion, named=()):
        super().__init__()
        torch.manual_seed(1)
        self.model = nn.Linear(5, 3)
        self.criterion = criterion
        self.named = named

    def training_step(self, batch, index):
        named = {name: batch[name] for name in self.named}
        loss = self.criterion(self.model(batch["x"]), batch["y"], **named)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def fit(module, path, **settings):
    """Return a module after two epochs of three batches."""
    rows = [{"x": X[i], "y": LABELS[i], "sample_weight": WEIGHTS[i], "teacher": TEACHER[i]} for i in range(len(X))]
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=path,
        **settings,
    )
    trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=8))
    return module


def same(first, second):
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_training_equals_that_with_torchs_loss(tmp_path):
    same(fit(Classifier(as_module(HARD)), tmp_path), fit(Classifier(nn.CrossEntropyLoss()), tmp_path))


def test_accumulated_gradients_are_those_of_torchs_loss(tmp_path):
    ours = fit(Classifier(as_module(HARD)), tmp_path, accumulate_grad_batches=3)
    same(ours, fit(Classifier(nn.CrossEntropyLoss()), tmp_path, accumulate_grad_batches=3))


def test_sample_weights_reach_the_loss(tmp_path):
    class Weighted(nn.Module):
        def forward(self, logits, target, sample_weight):
            return (nn.functional.cross_entropy(logits, target, reduction="none") * sample_weight).mean()

    named = ("sample_weight",)
    same(fit(Classifier(as_module(HARD), named), tmp_path), fit(Classifier(Weighted(), named), tmp_path))


def test_a_teacher_reaches_the_part_that_declares_it(tmp_path):
    class Both(nn.Module):
        def forward(self, logits, target, teacher):
            soft = nn.functional.cross_entropy(logits, teacher.softmax(-1))
            return 0.3 * nn.functional.cross_entropy(logits, target) + 0.7 * soft

    criterion, named = as_module(0.3 * HARD + 0.7 * Distillation()), ("teacher",)
    same(fit(Classifier(criterion, named), tmp_path), fit(Classifier(Both(), named), tmp_path))


def test_weights_that_are_learned_are_trained_and_saved(tmp_path):
    weight = nn.Parameter(torch.tensor(1.0))
    module = fit(Classifier(as_module(losses.Sum({"hard": (HARD, weight)}))), tmp_path)
    assert weight.item() < 1.0
    assert module.state_dict()["criterion.weight_hard"] == weight
    assert "criterion" not in " ".join(Classifier(as_module(HARD)).state_dict())


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precision_is_lightnings_business(precision, tmp_path):
    seen = []

    class Watching(Classifier):
        def training_step(self, batch, index):
            if precision == "64-true":
                batch = {**batch, "x": batch["x"].double()}
            loss = super().training_step(batch, index)
            seen.append(loss)
            return loss

    fit(Watching(as_module(HARD)), tmp_path, precision=precision)
    assert {each.dtype for each in seen} == {torch.float64 if precision == "64-true" else torch.float32}
    assert all(each.isfinite() for each in seen)
