"""The AutoAttack of its authors on QArmor's networks, which go in as they are.

    pip install -e ".[interop]" && python examples/interop_pyautoattack.py

Half a minute. Worth knowing: it wants images (B, C, H, W), its standard suite needs ten classes, or fewer targets set by hand, and it has no suite
for two classes. `qarmor.attacks.AutoAttack` has none of these limits.
"""

import torch
from pyautoattack import AutoAttack

import qarmor
from qarmor.training import Recipe
from qarmor.types import frozen

EPS = 0.1

data = qarmor.load("digits")
images = data.test.subset(60, seed=0)
print(f"{'network':10}clean  apgd-ce  apgd-t  fab-t  square   (eps {EPS}, each alone, short)")
for name, epochs in (("convnet", 2), ("qvc40", 8)):
    model = qarmor.models.build(name, data)
    qarmor.fit(model, data.train, Recipe(epochs=epochs, batch_size=32, lr=5e-3, schedule="cosine"))
    model = frozen(model)
    shares = [(model(images.x).argmax(1) == images.y).float().mean().item()]
    for attack in ("apgd-ce", "apgd-t", "fab-t", "square"):
        suite = AutoAttack(model, attacks=[attack], version="custom", eps=EPS, norm="Linf", seed=0)
        suite.apgd.n_restarts, suite.apgd_targeted.n_target_classes = 1, 3
        suite.fab.n_restarts, suite.fab.n_iter, suite.fab.n_target_classes = 1, 20, 3
        suite.square.n_queries = 500
        found, _ = suite.run_standard_evaluation(images.x, images.y)
        with torch.no_grad():
            shares.append((model(found).argmax(1) == images.y).float().mean().item())
    print(f"{name:10}" + "    ".join(f"{share:.2f}" for share in shares))
