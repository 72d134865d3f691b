"""Dask's workers: failures, deaths, a scheduler at an address, and a real SLURM where there is one."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from qarmor.studies.cluster import environment, local_workers

BAD = """
import os, torch
class Net(torch.nn.Module):
    def __init__(self, end):
        super().__init__()
        self.layer, self.end, self.calls = torch.nn.Linear(64, 3), end, 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 2 and self.training:
            self.end()
        return self.layer(x.flatten(1))
def fail():
    raise RuntimeError("on purpose")
def raising(dataset):
    return Net(fail)
def dying(dataset):
    return Net(lambda: os._exit(3))
"""
STUDY = """
title = "Bad networks"
[datasets.small]
source = "small.npz"
[networks.linear]
epochs = 1
[networks.raising]
network = "bad:raising"
[networks.dying]
network = "bad:dying"
[attacks.fgsm]
[sections.crossed]
kind = "transfer"
title = "Crossed"
sources = ["linear", "raising", "dying"]
targets = ["linear", "raising", "dying"]
attacks = ["fgsm"]
eps = [0.1]
images = 20
"""


def test_a_failure_or_a_dying_worker_does_not_stop_the_others(place):
    (place.path / "bad.py").write_text(BAD)
    (place.path / "bad.toml").write_text(STUDY)
    runner = place.start("run", "bad.toml", "--out", "out", "--workers", "1")
    assert runner.wait() == 1
    said = place.said()
    assert "train raising, small failed: on purpose (see out/logs/" in said
    assert "train dying, small failed: its worker died 3 times" in said
    assert "2 of 18 tasks failed, 12 were left out, since they need what failed; the logs are in out/logs" in said
    assert "Traceback" not in said
    assert any("RuntimeError: on purpose" in path.read_text() for path in (place.path / "out" / "logs").glob("*.log"))
    rows = json.loads(place.here("rows", "out", "--json"))
    assert {(row["source"], row["target"]) for row in rows} == {("", "linear"), ("linear", "linear")}
    begun = [n for (_, event), n in place.events().items() if event == "begun"]
    assert sorted(begun)[-2:] == [1, 3]
    status = place.here("status", "out")
    assert "failed: train dying, small: its worker died 3 times" in status
    assert "being done" not in status


def test_a_running_scheduler(place):
    script = """
import distributed
with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
    print(cluster.scheduler_address, flush=True)
    input()
"""
    cluster = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place.path)
    try:
        address = cluster.stdout.readline().strip()
        assert address.startswith("tcp://")
        place.run("run", "small.toml", "--out", "out", "--scheduler", address, "--only", "looks")
        assert "no problems" in place.here("verify", "out")
    finally:
        cluster.communicate("\n")


def test_a_scheduler_that_dies_is_told_in_one_line_and_nothing_is_lost(place):
    place.write(epochs=400)
    script = """
import distributed
with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
    print(cluster.scheduler_address, flush=True)
    input()
"""
    cluster = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place.path)
    runner = place.start("run", "small.toml", "--out", "out", "--scheduler", cluster.stdout.readline().strip())
    while not place.journal.exists():
        time.sleep(0.05)
    cluster.kill()
    assert runner.wait() == 1
    assert "qarmor: the connection to Dask's scheduler is lost; what was finished is kept" in place.said()
    assert "Traceback" not in place.said()
    cluster.communicate()
    place.run("run", "small.toml", "--out", "out", "--only", "looks")
    assert "no problems" in place.here("verify", "out")


def test_workers_share_out_the_cores():
    cores = len(os.sched_getaffinity(0))
    assert local_workers(1, 1) == cores
    assert local_workers(cores, 1) == 1
    assert local_workers(10 * cores, 1) == 1
    assert local_workers(1, 1 << 60) == 1
    assert set(environment(3).values()) == {"3"}


SLURM = """
[cluster]
kind = "slurm"
workers = 1
options = { memory = "1GB", interface = "lo", walltime = "00:15:00" }
"""


def slurm_is_up() -> bool:
    """Whether a job gets through."""
    return shutil.which("srun") is not None and subprocess.run(["srun", "--immediate=20", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not slurm_is_up(), reason="no SLURM takes a job here (srun)")
def test_slurm(place):
    wanted = place.undisturbed()
    place.write(extra=SLURM)
    place.run("run", "small.toml", "--out", "out")
    assert place.here("rows", "out", "--json") == wanted
    made = {json.loads(path.read_text())["made"]["by"] for path in (place.store / "objects").rglob("manifest.json")}
    assert len(made) >= 1
    assert list((place.path / "out" / "logs").glob("dask-worker-*.out"))


@pytest.mark.skipif(not slurm_is_up(), reason="no SLURM takes a job here (srun)")
def test_slurm_job_array(place):
    wanted = place.undisturbed()
    command = f"{sys.executable} -m qarmor run small.toml --out out --shard $SLURM_ARRAY_TASK_ID/2"
    done = subprocess.run(["sbatch", "-W", "--array=1-2", "--mem=1000", "--wrap", command], cwd=place.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in place.path.glob("dask-worker-*.out"))
    assert re.search(r"Submitted batch job \d+", done.stdout)
    assert place.here("rows", "out", "--json") == wanted
    assert {n for (_, event), n in place.events().items() if event == "made"} == {1}


def test_cluster_options_that_cannot_be_are_refused_in_one_line(place):
    place.write(extra=SLURM.replace("walltime", "wall_time"))
    runner = place.start("run", "small.toml", "--out", "out")
    assert runner.wait() == 1
    assert "cluster.options: slurm refuses them" in place.said()
    assert "Traceback" not in place.said()
