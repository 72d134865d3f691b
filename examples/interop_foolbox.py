"""Foolbox's attacks on QArmor's networks, which go in as they are.

    pip install -e ".[interop]" && python examples/interop_foolbox.py

A quarter of a minute.
"""

import foolbox

import qarmor
from qarmor.training import Recipe
from qarmor.types import frozen

EPS = [0.05, 0.1, 0.2]

data = qarmor.load("digits")
images = data.test.subset(100, seed=0)
attacks = {
    "LinfPGD": foolbox.attacks.LinfPGD(steps=20, rel_stepsize=1 / 8),  # its own, 1 / 30, does not cross the ball in 20 steps
    "LinfFastGradient": foolbox.attacks.LinfFastGradientAttack(),
    "LinfDeepFool": foolbox.attacks.LinfDeepFoolAttack(steps=20),
}
print(f"{'network':10}{'attack':18}clean" + "".join(f"  eps {eps:<4g}" for eps in EPS))
for name, epochs in (("convnet", 2), ("qvc40", 8)):
    model = qarmor.models.build(name, data)
    qarmor.fit(model, data.train, Recipe(epochs=epochs, batch_size=32, lr=5e-3, schedule="cosine"))
    fmodel = foolbox.PyTorchModel(frozen(model), bounds=(0, 1))  # frozen: a circuit of any depth at the cost of two matrix products
    clean = foolbox.accuracy(fmodel, images.x, images.y)
    for label, attack in attacks.items():
        _, _, fooled = attack(fmodel, images.x, images.y, epsilons=EPS)
        print(f"{name:10}{label:18}{clean:.2f} " + "".join(f"  {share:<8.2f}" for share in (~fooled).float().mean(1).tolist()))
