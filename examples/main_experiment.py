"""The paper's main experiment (West et al. 2023, Fig. 2) on one data set: train, attack each network, see what transfers.

    QARMOR_DATA=path/to/data python examples/main_experiment.py [mnist|fashion-mnist|digits]

Training takes about 20 minutes on two cores for MNIST, most of it ResNet18.
"""

import sys

import qarmor
from qarmor.training import recipe_for

NAMES = ("convnet", "resnet18", "qvc200", "linear")

data = qarmor.load(sys.argv[1] if len(sys.argv) > 1 else "mnist")
networks = {}
for name in NAMES:
    recipe = recipe_for(name)
    networks[name] = qarmor.models.build(name, data, **recipe.network)
    qarmor.fit(networks[name], data.train, recipe)
for attack in (qarmor.attacks.PGD(loss="ce"), qarmor.attacks.PGD(loss="margin")):
    rows = qarmor.transfer(networks, networks, data.test.subset(250, seed=0), attack, [0.05, 0.1, 0.2], seed=0)
    for row in rows.where(metric="accuracy"):
        interval = f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
        print(f"{attack.loss:8s} {row.source or '(clean)':10s} -> {row.target:10s} eps {row.eps:<5g} {interval} {' '.join(row.flags)}")
