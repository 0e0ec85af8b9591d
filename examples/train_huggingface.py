"""Hugging Face: the Trainer with a model's own loss, then with one of multiloss, accumulating unequal batches."""

import tempfile

import torch
from multiloss import losses
from multiloss.integrations.huggingface import as_compute_loss_func
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

images, labels = load_digits(return_X_y=True)  # 64 pixels of 17 greys are sentences of 64 words
data = [{"input_ids": torch.tensor(x).long(), "labels": int(y)} for x, y in zip(images[:100], labels, strict=False)]
size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 17}
config = BertConfig(num_labels=10, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **size)


def train(compute_loss_func=None, **batches):
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    settings = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "optim": "sgd"}
    arguments = TrainingArguments(tempfile.mkdtemp(), num_train_epochs=5, learning_rate=1.0, **settings, **batches)
    return Trainer(model, arguments, train_dataset=data, compute_loss_func=compute_loss_func).train().training_loss


loss = as_compute_loss_func(losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100))
before, after = (train(each, per_device_train_batch_size=100) for each in (None, loss))
pieces = train(loss, per_device_train_batch_size=30, gradient_accumulation_steps=4)  # 30 + 30 + 30 + 10
print(f"{before:.6f} with the model's loss, {after:.6f} with multiloss, {pieces:.6f} in accumulated batches")
assert abs(before - after) < 1e-5
assert abs(before - pieces) < 1e-4
