"""The Trainer trains with `compute_loss_func=`, and accumulates gradients to those of one large batch."""

from __future__ import annotations

import pytest
import torch
from multiloss import backend as K
from multiloss import losses
from multiloss._errors import ArgumentError, NamedInputError
from multiloss.integrations.huggingface import as_compute_loss_func
from multiloss.integrations.torch import as_module
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

IGNORED = -100
HARD = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
BERT = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": 3,
}
GPT = {
    "vocab_size": 30,
    "n_positions": 16,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def rows(kind, count=12, length=6):
    """Return sentences of which the later ones have fewer and fewer labels."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        tokens = torch.randint(1, 30, (length,), generator=generator)
        if kind == "sequence":
            labels = torch.randint(0, 3, (), generator=generator)
        elif kind == "scores":
            labels = torch.randn(3, generator=generator)
        else:
            labels = tokens.clone() if kind == "causal" else torch.randint(0, 3, (length,), generator=generator)
            labels[length - index * length // count :] = IGNORED
        made.append({"input_ids": tokens, "labels": labels})
    return made


def model_for(kind, cls=None):
    torch.manual_seed(0)
    if kind == "causal":
        return (cls or GPT2LMHeadModel)(GPT2Config(**GPT, **DROPOUT))
    problem = {"problem_type": "regression"} if kind == "scores" else {}
    default = BertForTokenClassification if kind == "token" else BertForSequenceClassification
    return (cls or default)(BertConfig(**BERT, **problem))


def trained(kind, path, compute_loss_func=None, *, batch=4, accumulate=3, model=None, **settings):
    """Return the parameters of a model after two steps of 12 sentences each."""
    model = model_for(kind) if model is None else model
    arguments = TrainingArguments(
        output_dir=path,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=2,
        learning_rate=0.5,
        optim="sgd",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        logging_strategy="no",
        seed=3,
        **settings,
    )
    Trainer(model, arguments, train_dataset=rows(kind), compute_loss_func=compute_loss_func).train()
    return torch.cat([each.detach().ravel() for each in model.parameters()])


def same(first, second):
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sequence", "token", "causal"])
def test_training_equals_that_with_the_models_own_loss(kind, tmp_path):
    ours = trained(kind, tmp_path, as_compute_loss_func(HARD, shift=kind == "causal"), accumulate=1, batch=12)
    same(ours, trained(kind, tmp_path, accumulate=1, batch=12))


@pytest.mark.parametrize("kind", ["sequence", "token", "causal", "scores"])
@pytest.mark.parametrize("batch", [1, 4])
def test_accumulated_gradients_are_those_of_one_batch(kind, batch, tmp_path):
    loss = as_compute_loss_func("mse" if kind == "scores" else HARD, shift=kind == "causal")
    whole = trained(kind, tmp_path, loss, batch=12, accumulate=1)
    same(trained(kind, tmp_path, loss, batch=batch, accumulate=12 // batch), whole)


def test_the_mean_of_unequal_means_is_another_number(tmp_path):
    """The mistake that the share of the labels is there for: the test above would see it."""

    def mean_of_means(outputs, labels, num_items_in_batch=None):
        return as_module(HARD)(outputs["logits"], labels) / 3

    whole = trained("token", tmp_path, as_compute_loss_func(HARD), batch=12, accumulate=1)
    assert (trained("token", tmp_path, mean_of_means) - whole).abs().max() > 1e-2


class WithTeacher(BertForSequenceClassification):
    """A model that also returns what a teacher says."""

    def forward(self, input_ids=None, labels=None):  # the trainer drops columns that are not named here
        outputs = super().forward(input_ids=input_ids, labels=labels)
        outputs["teacher"] = nn.functional.one_hot(input_ids[:, :3].sum(-1) % 3, 3).float()
        return outputs


class Distillation(losses.Loss):
    def call(self, y_true, y_pred, *, teacher):
        return K.categorical_crossentropy(K.softmax(teacher), y_pred, from_logits=True)


def test_named_inputs_come_from_the_outputs_of_the_model(tmp_path):
    def by_hand(outputs, labels, num_items_in_batch=None):
        hard = nn.functional.cross_entropy(outputs["logits"], labels, reduction="sum")
        soft = nn.functional.cross_entropy(outputs["logits"], outputs["teacher"].softmax(-1), reduction="sum")
        return (0.3 * hard + 0.7 * soft) / num_items_in_batch

    loss = 0.3 * HARD + 0.7 * Distillation()
    ours = trained("sequence", tmp_path, as_compute_loss_func(loss), model=model_for("sequence", WithTeacher))
    same(ours, trained("sequence", tmp_path, by_hand, model=model_for("sequence", WithTeacher)))
    with pytest.raises(NamedInputError, match="needs teacher="):
        trained("sequence", tmp_path, as_compute_loss_func(loss))


def test_evaluation_reports_the_mean(tmp_path):
    model = model_for("token")
    arguments = TrainingArguments(
        output_dir=tmp_path, per_device_eval_batch_size=12, report_to="none", use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(model, arguments, compute_loss_func=as_compute_loss_func(HARD))
    shown = trainer.evaluate(rows("token"))["eval_loss"]
    tokens, labels = (torch.stack([each[key] for each in rows("token")]) for key in ("input_ids", "labels"))
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    assert shown == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("count", [0, 7, torch.tensor(0), torch.tensor(7), torch.full((2, 1), 7)])
def test_a_batch_without_labels_that_count_adds_nothing(count):
    logits = torch.randn(2, 4, 3, requires_grad=True)
    labels = torch.full((2, 4), IGNORED)
    value = as_compute_loss_func(HARD)({"logits": logits}, labels, num_items_in_batch=count)
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_a_sum_stays_a_sum():
    compute = as_compute_loss_func(losses.MeanSquaredError(reduction="sum"))
    logits, labels = torch.randn(4, 3), torch.randn(4, 3)
    expected = ((logits - labels) ** 2).mean(-1).sum()
    torch.testing.assert_close(compute({"logits": logits}, labels, num_items_in_batch=100), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: as_compute_loss_func(losses.Huber(reduction="none")), "minimizes one number"),
        (lambda: as_compute_loss_func(HARD)({"logits": torch.zeros(2, 3)}, None), "passed no labels"),
        (lambda: as_compute_loss_func(HARD)({"scores": torch.zeros(2, 3)}, torch.zeros(2).long()), "returns: scores"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
