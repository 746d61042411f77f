"""The record of a training run."""

from dataclasses import dataclass, field


@dataclass
class History:
    """What happened, epoch by epoch: lists of equal length, one entry an epoch.

    `train` and `valid` hold a list for every entry of the objective ("loss", "accuracy", ...), averaged over
    examples; the train values are taken while the weights move, with dropout on. `lr` is the learning rate,
    `seconds` the time. `best_epoch` (counted from 1) has the lowest validation loss; None without validation.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, with the lowest validation loss."""
        losses = self.valid.get("loss")
        return losses.index(min(losses)) + 1 if losses else None

    def append(self, train: dict[str, float], valid: dict[str, float], lr: float, seconds: float) -> None:
        """Record one epoch."""
        for record, values in ((self.train, train), (self.valid, valid)):
            for name, value in values.items():
                record.setdefault(name, []).append(value)
        self.lr.append(lr)
        self.seconds.append(seconds)

    def __repr__(self) -> str:
        if not len(self):
            return "History of 0 epochs"
        last = [
            f"{part} " + ", ".join(f"{name} {values[-1]:.4f}" for name, values in record.items())
            for part, record in (("train", self.train), ("valid", self.valid))
            if record
        ]
        epochs = "1 epoch" if len(self) == 1 else f"{len(self)} epochs"
        return f"{epochs} in {sum(self.seconds):.1f} s · " + " · ".join(last) + self._best()

    def _best(self) -> str:
        if self.best_epoch in (None, len(self)):
            return ""
        values = ", ".join(f"{name} {values[self.best_epoch - 1]:.4f}" for name, values in self.valid.items())
        return f" · best epoch {self.best_epoch}: valid {values}"
