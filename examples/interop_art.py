"""The Adversarial Robustness Toolbox's attacks on QArmor's networks, which go in as they are.

    pip install -e ".[interop]" && python examples/interop_art.py

A quarter of a minute.
"""

import numpy as np
from art.attacks.evasion import ProjectedGradientDescent, SquareAttack
from art.estimators.classification import PyTorchClassifier
from torch import nn

import qarmor
from qarmor.training import Recipe
from qarmor.types import frozen

EPS = 0.1

data = qarmor.load("digits")
images = data.test.subset(100, seed=0)
x, y = images.x.numpy(), images.y.numpy()
print(f"{'network':10}clean  PGD   Square   (eps {EPS})")
for name, epochs in (("convnet", 2), ("qvc40", 8)):
    model = qarmor.models.build(name, data)
    qarmor.fit(model, data.train, Recipe(epochs=epochs, batch_size=32, lr=5e-3, schedule="cosine"))
    classifier = PyTorchClassifier(
        frozen(model), nn.CrossEntropyLoss(), input_shape=data.shape, nb_classes=len(data.classes), clip_values=(0, 1), device_type="cpu"
    )
    attacks = (
        ProjectedGradientDescent(classifier, norm=np.inf, eps=EPS, eps_step=EPS / 4, max_iter=20, verbose=False),
        SquareAttack(classifier, norm=np.inf, eps=EPS, max_iter=200, verbose=False),
    )
    shares = [(classifier.predict(z).argmax(1) == y).mean() for z in (x, *(attack.generate(x, y=y) for attack in attacks))]
    print(f"{name:10}" + "  ".join(f"{share:.2f} " for share in shares))
