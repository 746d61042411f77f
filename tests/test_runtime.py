import os
import platform
import random
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import coursekit
from coursekit import runtime


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_same_seed_repeats_python_numpy_and_torch():
    runtime.seed_everything(7)
    first = draws()
    runtime.seed_everything(7)
    assert draws() == first
    runtime.seed_everything(8)
    assert not set(draws()) & set(first)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (0.5, TypeError), (None, TypeError)]
)
def test_seed_must_fit_numpy(seed, error):
    with pytest.raises(error, match="`seed` must be"):
        runtime.seed_everything(seed)


def test_start_says_in_one_line_what_runs_here(capsys):
    device = runtime.start(seed=3)
    (line,) = capsys.readouterr().out.splitlines()
    for words in (
        f"Python {sys.version_info.major}.{sys.version_info.minor}",
        "torch ",
        device.type,
        "seed 3",
    ):
        assert words in line


def test_start_sets_the_plot_style():
    with plt.rc_context():
        plt.rcdefaults()
        runtime.start()
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"][0].lower() in ("#0072b2", "0072b2")


@pytest.mark.parametrize(("asked", "allowed", "used"), [(2, 1, 1), (1, 2, 1)])
def test_torch_gets_no_more_threads_than_there_are_cores_to_use(monkeypatch, capsys, asked, allowed, used):
    before = torch.get_num_threads()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(allowed))  # joblib's word for a share of the machine
    try:
        torch.set_num_threads(asked)
        runtime.start()
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)
    assert f"{used} thread" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_fastest_device_is_chosen(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert runtime.best_device().type == best


def loaded_by(modules: str) -> set[str]:
    code = f"import sys, {modules}; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True, encoding="utf-8").split())


def test_import_of_the_package_imports_nothing_heavy():
    assert not loaded_by("coursekit") & {"torch", "matplotlib", "sklearn", "mlxtend", "torchvision"}


def test_data_and_train_leave_slow_imports_for_later():
    assert not loaded_by("coursekit.data, coursekit.train") & {
        "matplotlib",
        "sklearn",
        "mlxtend",
        "torchvision",
    }


@pytest.mark.parametrize(
    ("before", "chosen", "spins"),
    [
        ("pass", {}, "3000"),
        ("pass", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("pass", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("sys.modules['torch'] = None", {}, "None"),
    ],
    ids=["by default", "unless it is set", "unless another policy is", "unless torch is loaded"],
)
def test_import_of_the_package_lets_threads_of_torch_make_way(before, chosen, spins):
    code = f"import os, sys; {before}; import coursekit.files; print(os.environ.get('GOMP_SPINCOUNT'))"
    ours = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=ours | chosen, text=True, encoding="utf-8").strip() == spins


def test_unknown_submodule_lists_the_known():
    with pytest.raises(
        AttributeError, match="it has data, exercises, judge, plots, progress, runtime, train"
    ):
        coursekit.models  # noqa: B018


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back and can be told"
)
def test_freed_memory_is_kept_for_the_next_tensors():
    code = """
import resource
import torch
from coursekit import runtime

def faults_of_training_like_allocations():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        activations = [torch.zeros(6 * 2**18) for _ in range(4)]  # 6 MiB each
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults_of_training_like_allocations())
runtime.reuse_memory()
print(faults_of_training_like_allocations())
"""
    alone = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    given_back, kept = map(int, alone.stdout.split())
    assert kept < given_back / 5
