"""Training that survives: killed, interrupted, resumed elsewhere, with files that are damaged, foreign or hostile."""

import functools
import io
import os
import pickle
import platform
import random
import signal
import subprocess
import sys
import textwrap
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from coursekit import train
from coursekit.data import Split
from coursekit.train import checkpoints, generators
from tests.posix import files_up_to, memory_up_to, only_linux, only_posix

EPOCHS, SIZE = 6, 16
pytestmark = pytest.mark.filterwarnings(
    "ignore:The epoch parameter"
)  # torch 2.6 warns of its own SequentialLR


def points(count=80, seed=0):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return Split(x, (x[:, 0] * x[:, 1] > 0).long())


def net(hidden=8):
    return nn.Sequential(
        nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 2)
    )


def loader(dataset, **settings):
    return DataLoader(dataset, **({"batch_size": SIZE} | settings))


def tensors(seed=0):
    return TensorDataset(points(seed=seed).x, points(seed=seed).y)


class Shifted(Dataset):
    """Examples of a class that nobody knows."""

    def __len__(self):
        return 80

    def __getitem__(self, index):
        return points().x[index] + 1, points().y[index]


def no_scheduler(optimizer):
    return None


def one_cycle(optimizer):
    return OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * 5)


def plateau(optimizer):
    return ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


def warm_up(optimizer):
    return SequentialLR(optimizer, [StepLR(optimizer, 1), StepLR(optimizer, 2)], milestones=[2])


def milestone(optimizer):
    return StepLR(optimizer, 2)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def call(
    path=None, *, epochs=EPOCHS, optimizer=torch.optim.Adam, scheduler=no_scheduler, model=None, **changes
):
    """Train as a notebook does that has been opened anew: everything is built again, from other random numbers."""
    model = model or net()
    optimizer = optimizer(model.parameters())
    settings = {
        "train": points().batches(SIZE, shuffle=True),
        "valid": points(40, seed=1).batches(40),
        "scheduler": scheduler(optimizer),
        "patience": 4,
        "checkpoint": path,
    } | changes
    history = train.fit(
        model, settings.pop("train"), settings.pop("valid"), epochs=epochs, optimizer=optimizer, **settings
    )
    return model, history


def reference(**settings):
    torch.manual_seed(0)
    return call(**settings)


def assert_same(one, other):
    (model, history), (model_, history_) = one, other
    for name, value in model.state_dict().items():
        assert torch.equal(value, model_.state_dict()[name]), name
    assert (history.train, history.valid, history.lr) == (history_.train, history_.valid, history_.lr)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pt"


# The same call goes on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, sgd])
@pytest.mark.parametrize("scheduler", [no_scheduler, one_cycle, plateau, warm_up])
def test_run_in_two_parts_ends_with_the_weights_and_history_of_one(path, optimizer, scheduler, capsys):
    how = {"optimizer": optimizer, "scheduler": scheduler}
    whole = reference(**how)

    torch.manual_seed(0)
    call(path, epochs=2, **how)
    torch.manual_seed(99)
    random.seed(99)
    assert_same(call(path, **how), whole)
    assert f"{path}: going on after epoch 2 of 6" in capsys.readouterr().out


def test_all_random_generators_go_on_where_they_were(path):
    def noisy(model, x, y):
        noise = random.random() + np.random.rand()  # noqa: NPY002
        return train.classification(model, x + noise * torch.rand_like(x), y)

    def seeded(seed):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)

    seeded(0)
    whole = call(objective=noisy)
    seeded(0)
    call(path, epochs=3, objective=noisy)
    seeded(1)
    assert_same(call(path, objective=noisy), whole)


class Noisy(Dataset):
    """Examples to which a generator of the data set's own adds noise."""

    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return 80

    def __getitem__(self, index):
        return points().x[index] + torch.randn(4, generator=self.generator), points().y[index]


LOADERS = {
    "shuffle": lambda own: loader(tensors(), shuffle=True, generator=own),
    "RandomSampler": lambda own: loader(tensors(), sampler=RandomSampler(tensors(), generator=own)),
    "WeightedRandomSampler": lambda own: loader(
        tensors(), sampler=WeightedRandomSampler(torch.arange(80.0), 80, generator=own)
    ),
    "BatchSampler": lambda own: DataLoader(
        tensors(), batch_sampler=BatchSampler(RandomSampler(tensors(), generator=own), SIZE, drop_last=False)
    ),
    "DataSet": lambda own: loader(Subset(Noisy(own), range(80))),
}


@pytest.mark.filterwarnings("ignore:.*what cannot be compared is taken to be the same. training data$")
@pytest.mark.parametrize("build", LOADERS.values(), ids=LOADERS)
def test_data_with_a_generator_of_their_own_go_on_too(path, build):
    def data(seed):
        return build(torch.Generator().manual_seed(seed))

    whole = reference(train=data(0))
    torch.manual_seed(0)
    call(path, epochs=3, train=data(0))
    assert_same(call(path, train=data(5)), whole)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (loader(Noisy(np.random.default_rng(0))), "Noisy draws from a generator of its own"),
        (
            loader(ConcatDataset([tensors(), Noisy(random.Random(0))])),
            "Noisy draws from a generator of its own",
        ),
        (
            loader(tensors(), num_workers=1, persistent_workers=True),
            "generators of persistent workers are in no checkpoint",
        ),
    ],
)
def test_generators_that_are_not_kept_are_named_in_a_warning(data, words):
    with pytest.warns(UserWarning, match=words):
        generators.warn_of_those_lost((None, data))


def test_fit_warns_of_generators_that_are_not_kept(path):
    class Still(Noisy):
        __getitem__ = Shifted.__getitem__

    call(train=loader(Still(np.random.default_rng(0))), epochs=1)  # without a checkpoint nothing is lost
    with pytest.warns(UserWarning, match="Still draws from a generator of its own that is in no checkpoint"):
        call(path, train=loader(Still(np.random.default_rng(0))), epochs=1)


def test_checkpoint_in_the_home_folder_is_found(monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    call("~/run.pt", epochs=1)
    assert (tmp_path / "run.pt").exists()


def test_training_without_a_checkpoint_is_the_same(path):
    whole = reference()
    torch.manual_seed(0)
    assert_same(call(path), whole)


def test_run_that_has_ended_is_not_trained_again(path):
    torch.manual_seed(0)
    whole = call(path)
    before = path.read_bytes()
    assert_same(call(path), whole)
    assert path.read_bytes() == before


def test_run_that_stopped_early_stays_stopped(path):
    torch.manual_seed(0)
    stopped = call(path, epochs=100, patience=1)
    assert len(stopped[1]) < 100
    assert_same(call(path, epochs=100, patience=1), stopped)


def test_fewer_epochs_than_the_file_holds_are_an_error(path):
    call(path, epochs=5, patience=None)
    with pytest.raises(
        ValueError, match=r"`epochs` is 2, but .*run.pt holds 5: ask for more, or delete the file"
    ):
        call(path, epochs=2, patience=None)


# Killed ------------------------------------------------------------------------------------------------------

NURSERY = """
    # Imports once, then forks a process for every run and kills it.
    import os, random, signal, sys, time, traceback
    from pathlib import Path

    sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1])]
    import torch._dynamo  # optimizers import it when they are made, which takes seconds
    from coursekit import files
    from test_checkpoints import EPOCHS, SIZE, call, points, train

    folder, batches = Path(sys.argv[2]), -(-len(points()) // SIZE)


    def in_a_process(work):
        child = os.fork()
        if not child:
            torch.set_num_threads(1)
            torch.manual_seed(os.getpid())
            try:
                work()
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        return child


    def wait(child):
        return os.waitpid(child, 0)[1]


    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)


    def logging(log):
        def objective(model, x, y):
            if model.training:
                with log.open("a") as file:
                    file.write("x")
            return train.classification(model, x, y)
        return objective


    def first_part(name, sabotage=lambda: None):
        torch.manual_seed(0)
        sabotage()
        call(folder / f"{name}.pt", objective=logging(folder / f"{name}.log"))


    def second_part(name):
        if not (folder / f"{name}.pt").exists():  # killed in the first epoch: only the seed repeats it
            torch.manual_seed(0)
        model, history = call(folder / f"{name}.pt", objective=logging(folder / f"{name}.log"))
        torch.save([model.state_dict(), len(history)], folder / f"{name}.weights")


    def at_the_third(function):
        calls = []
        def counted(*arguments, **keywords):
            calls.append(1)
            return die() if len(calls) == 3 else function(*arguments, **keywords)
        return counted


    def kill_in_fsync():
        os.fsync = at_the_third(os.fsync)


    def kill_before_the_copy_is_kept():
        files._copy = at_the_third(files._copy)


    def kill_before_the_rename():
        Path.replace = at_the_third(Path.replace)


    def kill_half_written():
        opened, calls = Path.open, []
        def open_and_die(self, mode="r", **rest):
            file = opened(self, mode, **rest)
            if mode == "wb":
                calls.append(1)
                if len(calls) == 3:
                    file.write(b"PK half of it")
                    file.flush()
                    die()
            return file
        Path.open = open_and_die


    def checked(name):
        log = folder / f"{name}.log"
        done = len(log.read_text()) if log.exists() else 0
        wait(in_a_process(lambda: second_part(name)))
        repeated = len(log.read_text()) - EPOCHS * batches
        print(name, done, repeated, flush=True)


    started = time.monotonic()
    wait(in_a_process(lambda: second_part("whole")))
    took = time.monotonic() - started
    saboteurs = [kill_in_fsync, kill_before_the_copy_is_kept, kill_before_the_rename, kill_half_written]
    for saboteur in saboteurs:
        name = saboteur.__name__
        assert wait(in_a_process(lambda: first_part(name, saboteur))) == signal.SIGKILL
        checked(name)
    for run in range(20):
        child = in_a_process(lambda: first_part(str(run)))
        time.sleep(took * (run + random.random()) / 20)
        os.kill(child, signal.SIGKILL)
        wait(child)
        checked(str(run))
"""


@only_posix
def test_run_killed_at_any_moment_loses_at_most_one_epoch_and_ends_with_the_same_weights(tmp_path):
    script = tmp_path / "nursery.py"
    script.write_text(textwrap.dedent(NURSERY), encoding="utf-8")
    command = [sys.executable, script, Path(__file__).parent, tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        encoding="utf-8",
    )
    lines = [line.split() for line in output.stdout.splitlines() if ".pt" not in line]
    assert len(lines) == 24, output.stderr

    whole, epochs = torch.load(tmp_path / "whole.weights")
    per_epoch = -(-len(points()) // SIZE)
    for name, _, repeated in lines:
        weights, epochs_ = torch.load(tmp_path / f"{name}.weights")
        assert epochs_ == epochs
        for key, value in whole.items():
            assert torch.equal(weights[key], value), (name, key)
        assert int(repeated) <= per_epoch, name
    assert {int(done) for _, done, _ in lines} - {0, EPOCHS * per_epoch}  # some were killed in the middle


# Interrupted -------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _stop_button():
    """Let an interrupt raise KeyboardInterrupt, as in a notebook; a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Stops:
    """An objective during which somebody presses the stop button, in batch `at`."""

    def __init__(self, at):
        self.at, self.batches = at, 0

    def __call__(self, model, x, y):
        if model.training:
            self.batches += 1
            if self.batches == self.at:
                signal.raise_signal(signal.SIGINT)
        return train.classification(model, x, y)


def test_stop_button_leaves_model_and_history_as_after_the_last_whole_epoch(capsys):
    after_two = reference(epochs=2, patience=None)
    torch.manual_seed(0)
    model, history = call(objective=Stops(at=2 * 5 + 3), patience=None)
    assert_same((model, history), after_two)
    assert not model.training
    out = capsys.readouterr().out
    assert (
        "Stopped in epoch 3 of 6: model and history are those after epoch 2. Another fit with epochs=4" in out
    )


def test_stop_button_before_the_first_epoch_is_over_leaves_the_first_weights(capsys):
    model = net()
    before = [parameter.clone() for parameter in model.parameters()]
    _, history = call(objective=Stops(at=4), model=model)
    assert len(history) == 0
    assert all(map(torch.equal, model.parameters(), before))
    assert "those before the first" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*what cannot be compared is taken to be the same. objective$")
@pytest.mark.parametrize("scheduler", [no_scheduler, one_cycle, plateau, warm_up, milestone])
def test_same_call_goes_on_after_the_stop_button_with_the_same_objects(path, scheduler, capsys):
    whole = reference(objective=Stops(at=-1), scheduler=scheduler)
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = scheduler(optimizer)
    for at in (13, 2, 8):  # the second in the first epoch after it went on
        call(
            path,
            model=model,
            optimizer=lambda _: optimizer,
            scheduler=lambda _: schedule,
            objective=Stops(at),
        )
    assert "The same call goes on from there." in capsys.readouterr().out
    _, history = call(
        path, model=model, optimizer=lambda _: optimizer, scheduler=lambda _: schedule, objective=Stops(-1)
    )
    assert_same((model, history), whole)


def test_same_call_goes_on_with_the_same_objects_after_an_error_in_the_middle_of_a_cycle(path):
    broken = iter([False] * 8 + [True])

    def fallible(model, x, y):
        if model.training and next(broken, False):
            raise ConnectionError("a drive was lost")
        return train.classification(model, x, y)

    whole = reference(scheduler=one_cycle)
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = one_cycle(optimizer)
    objects = {"model": model, "optimizer": lambda _: optimizer, "scheduler": lambda _: schedule}
    with pytest.raises(ConnectionError):
        call(path, objective=fallible, **objects)
    with pytest.warns(UserWarning, match="taken to be the same: objective, broken$"):
        assert_same(call(path, objective=fallible, **objects), whole)


@pytest.mark.filterwarnings("ignore:.*what cannot be compared is taken to be the same. objective$")
def test_stop_button_after_going_on_leaves_the_optimizer_as_it_is_in_the_file(path):
    call(path, epochs=2, objective=Stops(at=-1))
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    call(path, model=model, optimizer=lambda _: optimizer, objective=Stops(at=3))
    stored = checkpoints._read(path)["state"]["optimizer"]["state"]
    for number, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["exp_avg"], stored[number]["exp_avg"])


# Another run -------------------------------------------------------------------------------------------------

OTHERS = {
    "model": ({"model": net(hidden=9)}, r"model: .*out_features=8.* there, .*out_features=9"),
    "dropout": (
        {"model": nn.Sequential(*net()[:3], nn.Dropout(0.1), nn.Linear(8, 2))},
        r"model: .*p=0.5.* there, .*p=0.1",
    ),
    "training data": ({"train": points(seed=7).batches(SIZE, shuffle=True)}, "training data: .*checksum"),
    "one label": (
        {
            "train": Split(points().x, points().y.index_fill(0, torch.tensor(5), 1 - points().y[5])).batches(
                SIZE, shuffle=True
            )
        },
        "training data: .*checksum",
    ),
    "batch size": (
        {"train": points().batches(8, shuffle=True)},
        "training data: .*batches of 16 .*batches of 8",
    ),
    "order": ({"train": points().batches(SIZE)}, "training data: .*shuffled there, .*in order"),
    "validation data": ({"valid": None, "patience": None}, "validation data: .* there, None here"),
    "learning rate": (
        {"optimizer": lambda p: torch.optim.Adam(p, lr=0.01)},
        r"optimizer, lr: 0\.001 there, 0\.01 here",
    ),
    "optimizer": ({"optimizer": sgd}, "optimizer: Adam .* there, SGD"),
    "scheduler": ({"scheduler": one_cycle}, "scheduler: None there, OneCycleLR"),
    "patience": ({"patience": 3}, "patience: 4 there, 3 here"),
    "objective": (
        {"objective": lambda *batch: train.classification(*batch)},
        "objective: classification there",
    ),
}


@pytest.mark.parametrize(("change", "words"), OTHERS.values(), ids=OTHERS)
def test_file_of_another_run_is_an_error_that_says_what_differs_and_stays_as_it_is(path, change, words):
    call(path, epochs=1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"(?s)belongs to another run.*{words}.*to start afresh, delete"):
        call(path, **change)
    assert path.read_bytes() == before


def weighted(model, x, y, weight=1.0):
    return {"loss": weight * F.cross_entropy(model(x), y)}


def closing_over(weight):
    def objective(model, x, y):
        return {"loss": weight * F.cross_entropy(model(x), y)} if torch.is_tensor(y) else {}

    return objective


def with_code(expression):
    """A function as a cell of a notebook defines it, with names of its own."""
    names = {"F": F, "weight": 1.0}
    exec(f"def objective(model, x, y):\n    return {{'loss': {expression}}}", names)
    return names


def looking_up(weight):
    names = with_code("weight * F.cross_entropy(model(x), y)")
    names["weight"] = weight
    return names["objective"]


def calling(factor):
    def scaled(loss):
        return factor * loss

    return lambda model, x, y: {"loss": scaled(F.cross_entropy(model(x), y))}


def uneven(weight):
    return WeightedRandomSampler([1.0] * 79 + [weight], 80)


def two_groups(lr):
    def optimizer(parameters):
        first, *rest = parameters
        return torch.optim.Adam([{"params": [first], "lr": lr}, {"params": rest}])

    return optimizer


def set_by_hand(lr):
    def optimizer(parameters):
        adam = torch.optim.Adam(parameters)
        adam.param_groups[0]["lr"] = lr
        return adam

    return optimizer


def frozen_up_to(layer):
    model = net()
    for one in model[:layer]:
        one.requires_grad_(False)
    return model


# How a call is made with a value, two values, and what the error says of them
VALUES = {
    "argument of a partial": (
        lambda weight: {"objective": functools.partial(weighted, weight=weight)},
        (1.0, 2.0), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "a partial or not": (
        lambda arguments: {"objective": functools.partial(weighted, **arguments)},
        ({}, {"weight": 2.0}), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "default": (
        lambda weight: {"objective": lambda model, x, y, weight=weight: weighted(model, x, y, weight)},
        (1.0, 2.0), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "closure": (
        lambda weight: {"objective": closing_over(weight)}, (1.0, 2.0), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "closure over a tensor": (
        lambda weight: {"objective": closing_over(torch.full((1,), weight).squeeze())},
        (1.0, 2.0), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "name that the function looks up": (
        lambda weight: {"objective": looking_up(weight)}, (1.0, 2.0), r"objective, weight: 1\.0 there, 2\.0 here",
    ),
    "function that it calls": (
        lambda factor: {"objective": calling(factor)},
        (1.0, 2.0), r"objective, scaled, factor: 1\.0 there, 2\.0 here",
    ),
    "code": (
        lambda code: {"objective": with_code(code)["objective"]},
        ("F.cross_entropy(model(x), y)", "-F.cross_entropy(model(x), y)"), "objective: objective, code .* there",
    ),
    "lambda": (
        lambda objective: {"objective": objective},
        (lambda model, x, y: weighted(model, x, y), lambda model, x, y: weighted(model, x, y, 2.0)),
        "objective: <lambda>, code .* there",
    ),
    "list of batches": (
        lambda seed: {"train": list(points(seed=seed).batches(SIZE))}, (0, 7), "training data: list .*checksum",
    ),
    "tensors in a DataLoader": (
        lambda seed: {"train": loader(tensors(seed))}, (0, 7), "training data: .*checksum",
    ),
    "list in a DataLoader": (
        lambda seed: {"train": loader(list(zip(points(seed=seed).x, points(seed=seed).y, strict=True)))},
        (0, 7), "training data: list .*checksum",
    ),
    "subset": (
        lambda first: {"train": loader(Subset(tensors(), range(first, first + 40)))},
        (0, 40), r"training data, subset: range\(0, 40\) there, range\(40, 80\) here",
    ),
    "concatenation": (
        lambda seed: {"train": loader(ConcatDataset([tensors(), tensors(seed)]))},
        (0, 7), "training data, part 2: .*checksum",
    ),
    "batch size of a DataLoader": (
        lambda size: {"train": loader(tensors(), batch_size=size)},
        (16, 20), "training data, sampler, batch_size: 16 there, 20 here",
    ),
    "order of a DataLoader": (
        lambda shuffle: {"train": loader(tensors(), shuffle=shuffle)},
        (True, False), "training data, sampler: RandomSampler there, SequentialSampler here",
    ),
    "weights of a sampler": (
        lambda weight: {"train": loader(tensors(), sampler=uneven(weight))},
        (1.0, 9.0), "training data, sampler, weights: .*checksum",
    ),
    "learning rate of a group": (
        lambda lr: {"optimizer": two_groups(lr)}, (0.1, 0.2), r"optimizer, group 1, lr: 0\.1 there, 0\.2 here",
    ),
    "learning rate set by hand": (
        lambda lr: {"optimizer": set_by_hand(lr)}, (0.1, 0.2), r"optimizer, lr: 0\.1 there, 0\.2 here",
    ),
    "learning rate that a scheduler starts from": (
        lambda lr: {"optimizer": set_by_hand(lr), "scheduler": milestone},
        (0.1, 0.2), r"optimizer, initial_lr: 0\.1 there, 0\.2 here",
    ),
    "function of a LambdaLR": (
        lambda function: {"scheduler": lambda optimizer: LambdaLR(optimizer, function)},
        (lambda epoch: 0.9**epoch, lambda epoch: 0.8**epoch), "scheduler, lr_lambdas 1: <lambda>, code .* there",
    ),
    "pct_start of a OneCycleLR": (
        lambda start: {"scheduler": lambda o: OneCycleLR(o, 0.1, total_steps=EPOCHS * 5, pct_start=start)},
        (0.3, 0.4), "scheduler, _schedule_phases: .* there",
    ),
    "max_lr of a OneCycleLR": (
        lambda lr: {"scheduler": lambda o: OneCycleLR(o, lr, total_steps=EPOCHS * 5)},
        (0.1, 0.2), r"optimizer, max_lr: 0\.1 there, 0\.2 here",
    ),
    "milestones": (
        lambda epoch: {"scheduler": lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(o, 2)], milestones=[epoch])},
        (2, 3), r"scheduler, _milestones: \[2\] there, \[3\] here",
    ),
    "frozen layers": (
        lambda layer: {"model": frozen_up_to(layer)}, (0, 1), "model: 0.weight .* there, 0.weight .* frozen here",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("how", "values", "words"), VALUES.values(), ids=VALUES)
def test_file_of_a_run_with_another_value_is_an_error_that_names_it(path, how, values, words):
    one, other = values
    call(path, epochs=1, **how(one))
    with pytest.raises(ValueError, match=f"(?s)belongs to another run.*- {words}"):
        call(path, **how(other))


@pytest.mark.parametrize(("how", "values"), [case[:2] for case in VALUES.values()], ids=VALUES)
def test_run_with_the_same_value_goes_on_and_nothing_is_left_uncompared(path, how, values, capsys):
    call(path, epochs=1, **how(values[0]))
    call(path, epochs=2, **how(values[0]))
    assert "going on after epoch 1 of 2" in capsys.readouterr().out


def logging(losses):
    def objective(model, x, y):
        result = train.classification(model, x, y)
        losses.append(result["loss"].item())
        return result

    return objective


def counting():
    batches = 0

    def objective(model, x, y):
        nonlocal batches
        batches += 1
        return train.classification(model, x, y)

    return objective


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"objective": Stops(-1)}, "objective"),
        ({"objective": logging([])}, "objective, losses"),
        ({"objective": counting()}, "objective, batches"),
        ({"train": loader(Shifted())}, "training data"),
        ({"train": loader(Shifted()), "objective": counting()}, "training data; objective, batches"),
    ],
)
def test_run_goes_on_with_a_warning_that_names_what_cannot_be_compared(path, settings, what):
    call(path, epochs=1, **settings)
    with pytest.warns(UserWarning, match=f"what cannot be compared is taken to be the same: {what}$") as told:
        call(path, epochs=2, **settings)
    assert len(told) == 1


def test_code_is_not_compared_between_versions_of_python(path, monkeypatch):
    call(path, epochs=1, objective=lambda model, x, y: weighted(model, x, y))
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "99", "0"))
    with pytest.warns(
        UserWarning, match=r"taken to be the same: the code of functions \(Python is another\)$"
    ):
        call(path, epochs=2, objective=lambda model, x, y: weighted(model, x, y, 1.0))


def test_description_is_the_same_in_every_kernel():
    script = """
        from coursekit.train.fingerprints import describe_callable
        kinds = {"a", "b", "c", "d"}

        def objective(model, x, y, names=frozenset("efgh")):
            return {"loss": kinds if x in {"i", "j", "k", "l"} else [lambda z: z in {"m", "n"}]}

        print(describe_callable("objective", objective))
    """
    told = {
        subprocess.check_output(
            [sys.executable, "-c", textwrap.dedent(script)], env=os.environ | {"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_settings_are_compared_as_they_were_not_as_the_scheduler_left_them(path):
    call(path, epochs=3, scheduler=plateau, optimizer=sgd)
    call(path, scheduler=plateau, optimizer=sgd)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (True, TypeError, "name of a file such as 'run.pt', not True"),
        ("no/such/folder/run.pt", FileNotFoundError, "folder that does not exist"),
        (".", IsADirectoryError, "is a folder: name a file in it"),
    ],
)
def test_name_that_cannot_be_a_checkpoint_is_an_error_before_training(
    wrong, error, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        call(wrong)


def test_state_that_could_not_be_read_back_is_an_error_before_training(path):
    class Odd(StepLR):
        def state_dict(self):
            return super().state_dict() | {"friend": Split(torch.zeros(1), torch.zeros(1))}

    with pytest.raises(TypeError, match="holds something else"):
        call(path, scheduler=lambda optimizer: Odd(optimizer, 1))
    assert not path.exists()


# Damaged, foreign and hostile files --------------------------------------------------------------------------


def previous(path):
    return path.with_name("run.pt.previous")


def cut(contents):
    return contents[: len(contents) // 2]


def flipped(contents):
    weights = torch.load(io.BytesIO(contents))["state"]["model"]["0.weight"].numpy().tobytes()
    at = contents.index(weights)
    return contents[:at] + bytes([contents[at] ^ 1]) + contents[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b""])
def test_damaged_file_is_set_aside_and_the_one_before_it_is_used(path, damage, capsys):
    whole = reference()
    torch.manual_seed(0)
    call(path, epochs=4)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    with pytest.warns(
        UserWarning, match=r"run.pt is damaged \(.+\): set aside as run.pt.damaged, the one before is used"
    ):
        resumed = call(path)

    assert "going on after epoch 3 of 6" in capsys.readouterr().out
    assert path.with_name("run.pt.damaged").read_bytes() == damaged
    assert_same(resumed, whole)


def test_damaged_file_without_one_before_it_is_an_error_and_stays(path):
    call(path, epochs=1)
    path.write_bytes(cut(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"run.pt cannot be read .* nor can a copy before it: to start afresh, delete"
    ):
        call(path)
    assert path.read_bytes() == damaged


def test_file_that_somebody_saved_for_another_purpose_is_not_overwritten(path):
    torch.save(net().state_dict(), path)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match="is no checkpoint of fit, and is left as it is: choose another name"
    ):
        call(path)
    assert path.read_bytes() == before


def test_file_of_another_format_is_named(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_VERSION", 99)
    call(path, epochs=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 99, this coursekit reads 2"):
        call(path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickle_with_code_in_it_is_refused_and_not_executed(path, write, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write({"version": 1, "run": {}, "state": Bomb()}, path)
    with pytest.raises(ValueError, match=r"is refused|cannot be read"):
        call(path)
    assert not Path("executed").exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert Path("executed").exists()  # it would have been


@only_linux
def test_archive_that_unpacks_to_more_than_its_size_is_refused_within_bounded_memory(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run/data.pkl", bytes(500_000_000))
    with memory_up_to(100), pytest.raises(ValueError, match="it is compressed"):
        call(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    call(folder / "run.pt", epochs=1)
    return folder


@given(data=st.data())
def test_checkpoint_changed_at_random_is_read_as_it_was_or_refused(saved, data):
    intact = (saved / "run.pt").read_bytes()
    at = data.draw(st.integers(0, len(intact) - 1))
    patch = data.draw(st.binary(max_size=8))
    end = data.draw(st.integers(at, len(intact)))
    changed = saved / "changed.pt"
    changed.write_bytes(intact[:at] + patch + intact[end:])
    buffer = io.BytesIO()
    torch.save(checkpoints._read(saved / "run.pt"), buffer)
    try:
        read = checkpoints._read(changed)
    except (ValueError, checkpoints._DamagedError):
        return
    again = io.BytesIO()
    torch.save(read, again)
    assert again.getvalue() == buffer.getvalue()


# The disk and the memory -------------------------------------------------------------------------------------


@only_posix
def test_full_disk_costs_the_checkpoint_not_the_training(path):
    call(path, epochs=1)
    before, whole = path.read_bytes(), call(epochs=3)
    told = pytest.warns(UserWarning, match=r"run.pt could not be saved \(File too large\). Training goes on")
    with files_up_to(1000), told:
        _, history = call(path, epochs=3)
    assert len(history) == len(whole[1]) == 3
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.part")) == []


class Greedy(nn.Module):
    """A net for which the memory does not suffice, in its forward or in its backward pass."""

    def __init__(self, error):
        super().__init__()
        self.layer, self.error = nn.Linear(4, 2), error

    def forward(self, x):
        activations = self.layer(x)
        self.last = weakref.ref(activations)
        if self.error is None:
            torch.empty(10**14)  # a real refusal, on any machine
        raise self.error


@pytest.mark.parametrize(
    "error", [None, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")]
)
def test_too_little_memory_is_answered_with_the_batch_size_to_try(error):
    with pytest.raises(torch.OutOfMemoryError, match="batch of 64 examples: try batches of 32"):
        train.fit(Greedy(error), points().batches(64), epochs=1)
    with pytest.raises(torch.OutOfMemoryError, match="batch of 80 examples: try batches of 40"):
        train.evaluate(Greedy(error), points().batches(80))
    with pytest.raises(torch.OutOfMemoryError, match="make the net smaller"):
        train.evaluate(Greedy(error), points().batches(1))


def test_too_little_memory_in_the_backward_pass_is_answered_too(monkeypatch):
    def refuse(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    with pytest.raises(torch.OutOfMemoryError, match="try batches of 8"):
        call()


def test_error_of_too_little_memory_holds_no_activations():
    model = Greedy(None)
    with pytest.raises(torch.OutOfMemoryError) as held:  # as a notebook holds its last error
        train.evaluate(model, points().batches(64))
    assert model.last() is None, held
