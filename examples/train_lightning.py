"""Lightning: a module takes its loss as an argument; torch's own or one of multiloss, to the same model."""

import lightning
import torch
from multiloss.integrations.torch import as_module
from multiloss.losses import SparseCategoricalCrossentropy
from sklearn.datasets import load_digits

x, y = map(torch.tensor, load_digits(return_X_y=True))
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.float() / 16, y), batch_size=256)


class Model(lightning.LightningModule):
    def __init__(self, criterion):
        super().__init__()
        torch.manual_seed(0)
        self.model, self.criterion = torch.nn.Linear(64, 10), criterion

    def training_step(self, batch, index):
        return self.criterion(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


before, after = Model(torch.nn.CrossEntropyLoss()), Model(as_module(SparseCategoricalCrossentropy(from_logits=True)))
for each in (before, after):
    lightning.Trainer(max_epochs=5, logger=False, enable_checkpointing=False).fit(each, data)
torch.testing.assert_close(after.model.weight, before.model.weight, rtol=0, atol=1e-5)
print("the weights are equal to 1e-5")
