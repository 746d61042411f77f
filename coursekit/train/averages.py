"""The values of an objective, averaged over examples, and `evaluate`, which returns them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from coursekit.train import parallel
from coursekit.train.arguments import check_model, check_objective
from coursekit.train.inputs import Batch, Objective, apply, checked, memory_error_explained
from coursekit.train.objectives import classification


def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, objective: Objective = classification
) -> dict[str, float]:
    """Return the objective's values averaged over all examples, e.g. {"loss": 0.07, "accuracy": 0.98}.

    Puts the model in eval mode and changes nothing else. Raises ValueError if there are no examples.

    Under torchrun every process calls it, takes its share of each batch, and returns the averages over all. Raises
    RuntimeError if one of them does not come within a minute.
    """
    check_model(model)
    check_objective(objective)
    parallel.join()
    parallel.check_meeting("evaluate")
    return average(model, batches, objective)


@torch.no_grad()
def average(model: nn.Module, batches: Iterable[Batch], objective: Objective) -> dict[str, float]:
    """Do the work of `evaluate`."""
    model.eval()
    values = Averages("evaluate: `batches`")
    for x, y, size in checked(batches, model):
        with memory_error_explained(len(x)):
            values.add(apply(objective, model, x, y), size)
    return values.means()


@dataclass
class Averages:
    """What an objective returned, batch by batch; it stays on its device, so that no batch waits for a GPU.

    `argument` names the batches in errors.
    """

    argument: str
    values: list[dict[str, Tensor]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, values: dict[str, Tensor], size: int) -> None:
        """Record the values of a batch of `size` examples."""
        self.values.append(values)
        self.sizes.append(size)

    def means(self) -> dict[str, float]:
        """Return the averages over examples, not over batches: the last batch is shorter."""
        examples = float(parallel.total(torch.tensor(sum(self.sizes), dtype=torch.float64)))
        if not examples:
            raise ValueError(
                f"{self.argument} yielded no examples; is the split empty, or an iterator already used up?"
            )
        weights = torch.tensor(self.sizes, dtype=torch.float64) / examples
        sums = parallel.total(torch.stack([self._column(name).double() @ weights for name in self.values[0]]))
        return dict(zip(self.values[0], sums.tolist(), strict=True))

    def newest_loss(self, epoch: int) -> float:
        """Return the newest loss if all are finite; else raise FloatingPointError, naming the first that is not."""
        losses = self._column("loss")
        if losses.isfinite().all():
            return float(losses[-1])
        batch = int((~losses.isfinite()).nonzero()[0])
        raise FloatingPointError(
            f"the loss became {float(losses[batch])} in epoch {epoch}, batch {batch + 1}; "
            "the weights are no longer numbers.\n"
            "Usual causes:\n"
            "- the learning rate is too high: try a tenth;\n"
            "- the inputs hold nan or are not scaled: look at x.isfinite().all() and x.std();\n"
            "- a logarithm, square root or division met a 0.\n"
            "Build the model again before the next attempt."
        )

    def _column(self, name: str) -> Tensor:
        return torch.stack([row[name] for row in self.values]).cpu()
