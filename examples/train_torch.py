"""PyTorch: torch's own loss, one of multiloss in its place, and one that torch has not."""

import torch
from multiloss import losses
from multiloss.integrations.torch import as_module
from sklearn.datasets import load_digits

x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)


def train(criterion):
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return torch.nn.functional.cross_entropy(model(x), y).item()


hard = losses.SparseCategoricalCrossentropy(from_logits=True)
before, after = train(torch.nn.CrossEntropyLoss()), train(as_module(hard))
print(f"cross-entropy after 50 steps: {before:.6f} with torch's loss, {after:.6f} with multiloss")
assert abs(before - after) < 1e-4
focal = losses.SparseCategoricalFocalCrossentropy(gamma=2.0, from_logits=True)
print(f"trained on 0.5 * cross-entropy + focal loss: {train(as_module(0.5 * hard + focal)):.6f}")
