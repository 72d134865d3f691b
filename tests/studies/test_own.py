"""Other people's data sets, networks and attacks in a study."""

from pathlib import Path

from qarmor.studies import fingerprint, plan, spec
from qarmor.studies.engine import Inline, Run
from qarmor.studies.store import Store

OWN = """
import torch
from qarmor.types import Dataset, Images


def data():
    y = torch.arange(12) % 2
    x = (y.float().reshape(-1, 1, 1, 1) * 0.6 + 0.2).expand(-1, 1, 4, 4).clone()
    part = Images(x, y, torch.arange(12), "own")
    return Dataset("own", part, part, ("dark", "light"))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 2)

    def forward(self, x):
        return self.layer(x.flatten(1))


def network(dataset, width=1):
    return Net()


def ready():
    torch.manual_seed(5)
    return Net()


class Shift:
    name = "shift"

    def __init__(self, sign=1.0):
        self.sign = sign

    @property
    def parameters(self):
        return {"sign": self.sign}

    def __call__(self, model, x, y, eps, *, seed=0):
        return (x + self.sign * eps).clamp(0, 1)
"""
OWN_STUDY = """
title = "own"
[datasets.mine]
source = "MODULE:data"
[networks.net]
network = "MODULE:network"
epochs = 1
options = { width = 2 }
[networks.ready]
model = "MODULE:ready"
[attacks.shift]
attack = "MODULE:Shift"
sign = -1.0
[sections.s]
kind = "transfer"
title = "s"
sources = ["net", "ready"]
targets = ["net", "ready"]
attacks = ["shift"]
eps = [0.1]
images = 6
"""


def test_own_data_set_networks_and_attack_plan_and_run(own, tmp_path):
    text = OWN_STUDY.replace("MODULE", own(OWN))
    made = plan.make(spec.parse(text), "mine")
    assert [t.kind for t in made.tasks.values()].count("import") == 1
    assert made.about["networks"]["ready"]["recipe"] == "ready-made"
    assert made.about["attacks"] == {"shift": {"name": "shift", "parameters": {"sign": -1.0}}}
    store = Store(tmp_path / "store")
    store.create()
    run = Run(made.tasks, store, tmp_path / "logs")
    run.look()
    state = run.go(Inline(store.root))
    assert (state.done, state.failed) == (len(made.tasks), {})


def test_the_module_of_a_factory_counts_also_where_it_returns_something_of_ours(own):
    factories = "def attack():\n    return PGD(steps=VALUE - VALUE + 2)\ndef network(dataset):\n    return Linear(dataset.shape, VALUE - VALUE + 2)\n"
    name = own("from qarmor.attacks import PGD\nfrom qarmor.models import Linear\n" + factories.replace("VALUE", "1"))
    text = OWN_STUDY.replace("MODULE:Shift", f"{name}:attack").replace("sign = -1.0\n", "").replace("MODULE:network", f"{name}:network")
    study = spec.parse(text.replace("options = { width = 2 }\n", "").replace("MODULE", own(OWN)))

    def keys() -> set[str]:
        fingerprint._fingerprint.cache_clear()
        made = plan.make(study, "mine")
        return {t.key for t in made.tasks.values() if t.kind == "train" or "on ready" in t.label}

    before = keys()
    path = Path(f"{name}.py")
    path.write_text("# edited\n" + path.read_text())
    assert keys() == before
    path.write_text(path.read_text().replace("1 - 1", "2 - 2"))
    after = keys()
    assert len(after) == len(before) == 3 + 1  # one training; the attack on the ready network, and who is judged on it
    # its clean verdict depends on neither
    assert len(after & before) == 0
