"""The numbers of one stage's training. Imports no torch, so that a list of recipes is read at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageRecipe:
    stage: str
    steps: int
    batch_size: int
    lr: float
    seed: int  # of the weights, the batches' draws and the drawn pictures
    warmup: int = 100  # steps
    decay_from: float = 0.5  # share of the steps after which the rate falls linearly to 0
    weight_decay: float = 0.0
    ema: float = 0.998  # what is scored and shipped is this running mean of the weights
    clip: float = 1.0  # norm of the gradient
    save_every: int = 250  # steps
    sheets_at: tuple[float, ...] = (0.1, 0.4, 1.0)  # shares of the steps at which held-out results are drawn

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0)."""
        up = min(1.0, (step + 1) / self.warmup)
        first = self.decay_from * self.steps
        return self.lr * up * (1.0 if step < first else (self.steps - step) / (self.steps - first))
