"""Exercises in which a model is trained."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coursekit.checks import time_limit
from coursekit.checks.base import SolvedByCode
from coursekit.checks.compare import show
from coursekit.checks.isolation import captured_output
from coursekit.checks.verdicts import Verdict
from coursekit.data import Split
from coursekit.train import History

LIMIT_S = 60  # a large network on a slow machine takes its time over the examples kept back
BATCH = 500


class ModelExercise(SolvedByCode):
    """A trained model that has to reach floors on data the learner was not given. Made by ExerciseSet.trained_model.

    A subclass may ask for something else than a network from inputs to logits: `_unfit` says what is none,
    `_as_network` makes a network of what is one, `_unfit_outputs` and `_reached` judge its outputs.
    """

    too_slow = (
        "Is there a loop without end in the network's `forward`? If not, try a smaller network, or a GPU."
    )
    not_finite = (
        "Some outputs are nan or inf: the training went astray. "
        "Try a smaller learning rate, or clip the gradients."
    )

    def __init__(self, solution, *, attempt, held_out, score, floors, hints) -> None:
        super().__init__(solution, [attempt], hints)
        self.symptoms: list[tuple[str, Callable]] = []
        self._always: list[tuple[str, Callable]] = []  # those that count above the floors as well
        self.floors, self.held_out, self._score = floors, held_out, score

    @property
    def sentences(self) -> list[str]:
        """What it says about the mistakes it knows."""
        return [sentence for sentence, _ in self.symptoms]

    def symptom(self, sentence: str, *, always: bool = False) -> Callable[[Callable], Callable]:
        """Decorate a test (model, split) -> bool: a model below the floors for which it holds is told `sentence`.

        With `always` a model that reaches the floors is tested as well: it is something else than what was asked for.
        """

        def register(shows: Callable) -> Callable:
            self.symptoms.append((sentence, shows))
            if always:
                self._always.append((sentence, shows))
            return shows

        return register

    def _judge(self, given: tuple, named: dict) -> Verdict:
        if unfit := self._misuse(given, named) or self._unfit(given):
            return unfit
        model = self._as_network(*given)
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        training = model.training
        with captured_output():  # what loading them prints is no part of the verdict
            split = self.held_out().to(device)
        try:
            with captured_output(), time_limit.time_limit(LIMIT_S), torch.no_grad():
                return self._verdict_on(model.eval(), split)
        except time_limit.Stopped:
            return self._wrong(f"Stopped after {LIMIT_S} s on {len(split):,} examples. {self.too_slow}")
        finally:
            model.train(training)

    def _unfit(self, given: tuple) -> Verdict | None:
        (model,) = given
        if model is None or model is ...:
            return self._not_attempted(
                f"`{self.arguments[0]}` is None. Is `{self.name}` still empty, or its `return` missing?"
            )
        if isinstance(model, History):
            return self._wrong(
                "That is what `train.fit` returns, the record of the training. Return the network itself."
            )
        if not isinstance(model, nn.Module):
            return self._wrong(
                f"`{self.arguments[0]}` should be a trained network, an `nn.Module`, but this arrived: {show(model)}."
            )
        return None

    def _as_network(self, model: object) -> nn.Module:
        """Return what arrived as a network from inputs to outputs; here it is one."""
        return model

    def _verdict_on(self, model: nn.Module, split: Split) -> Verdict:
        parts = []
        for x in split.x.split(BATCH):
            try:
                outputs = model(x)
            except (Exception, SystemExit) as error:
                return self._raised(error, f"It was given inputs of shape {tuple(x.shape)}.")
            if unfit := self._unfit_outputs(outputs, x, split):
                return unfit
            parts.append(outputs)
        outputs = torch.cat(parts)
        if not outputs.isfinite().all():
            return self._wrong(self.not_finite)
        enough, reached = self._reached(outputs, split)
        tested = self._always if enough else self.symptoms
        sentence = next((sentence for sentence, shows in tested if shows(model, split)), "")
        if enough and not sentence:
            return self._correct(f"On {len(split):,} examples that you were not given: {reached}.")
        return self._wrong(
            sentence or "Not there yet. Was the loss still falling when training ended?",
            (f"on {len(split):,} kept back", reached),
        )

    def _unfit_outputs(self, outputs: object, x: Tensor, split: Split) -> Verdict | None:
        """Return the verdict on what is no row of logits for each input, None if all is well."""
        asked = (len(x), int(split.y.max()) + 1)
        if isinstance(outputs, Tensor) and outputs.shape == asked:
            return None
        return self._wrong(
            f"For inputs of shape {tuple(x.shape)} it should give logits of shape {asked}.",
            ("yours", str(tuple(outputs.shape)) if isinstance(outputs, Tensor) else show(outputs)),
        )

    def _reached(self, outputs: Tensor, split: Split) -> tuple[bool, str]:
        """Return whether the outputs reach all floors, and in words what they reach."""
        scores = self._score(outputs, split.y)
        words = [f"{name} {scores[name]:.3f} (floor {floor})" for name, floor in self.floors.items()]
        return all(scores[name] >= floor for name, floor in self.floors.items()), ", ".join(words)
