"""Marking on a Dask cluster: a real scheduler and two workers, one of which is killed."""

import json
import os
import signal
import threading

import pytest

from coursekit.teaching import mark
from tests.test_marking import notebook

distributed = pytest.importorskip("distributed")


@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="submissions are run in forks")
def test_killed_worker_loses_no_submission_and_none_is_marked_twice(tmp_path, capfd):
    source, output = tmp_path / "in", tmp_path / "marks.csv"
    source.mkdir()
    for number in range(24):
        answer = "ex.shown_by_c(19)" if number % 2 else "ex.shown_by_c(7)"
        (source / f"student{number:02}.ipynb").write_bytes(notebook(shown_by_c=answer))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        marked_before = []
        results = output.with_suffix("") / "results.jsonl"
        killer = threading.Thread(target=_kill_one, args=(cluster, results, marked_before))
        killer.start()
        arguments = ["--lesson", "00", "-o", str(output), "--scheduler", cluster.scheduler_address]
        assert mark.main([str(source), *arguments]) == 0
        killer.join()
    marks = _kept(results)
    assert 0 < len(marked_before) < 24
    assert sorted(one["student"] for one in marks) == [f"student{number:02}" for number in range(24)]
    for one in marks:
        right = int(one["student"][-2:]) % 2 == 1
        assert one["marked"][0]["status"] == ("correct" if right else "wrong")
    assert "Marked 24 of 24" in capfd.readouterr().out


def _kill_one(cluster, results, marked_before) -> None:
    """Kill a worker as soon as something is marked."""
    stop = threading.Event()
    while not (results.exists() and results.stat().st_size):
        stop.wait(0.02)
    worker = next(iter(cluster.workers.values()))
    os.kill(worker.process.process.pid, signal.SIGKILL)
    marked_before += _kept(results)


def _kept(results) -> list[dict]:
    return [json.loads(line) for line in results.read_text(encoding="utf-8").split("\n") if line]


def test_scheduler_that_is_not_there_is_one_line(tmp_path, capsys):
    (tmp_path / "ada.ipynb").write_bytes(notebook())
    arguments = ["--lesson", "00", "-o", str(tmp_path / "m.csv"), "--scheduler", "nowhere"]
    assert mark.main([str(tmp_path), *arguments]) == 1
    assert "there is no Dask scheduler at 'nowhere'" in capsys.readouterr().err
