"""Attack detection by disagreement (West et al. 2023, II.E): does a quantum partner detect attacks better than classical ones do?

    QARMOR_DATA=path/to/data python examples/detection.py [digits|mnist|fashion-mnist]

A ConvNet is attacked by PGD and FGSM, each image once, at a strength between 0.02 and 0.3. It is watched by a QVC, by a linear network and by a
second ConvNet. Without an argument it runs on scikit-learn's digits, in about a minute.
"""

import dataclasses
import sys

import qarmor
from qarmor.attacks import FGSM, PGD
from qarmor.evaluation import detection
from qarmor.training import recipe_for

name = sys.argv[1] if len(sys.argv) > 1 else "digits"
data = qarmor.load(name)
n = min(1000, len(data.test) // 3)
clean, target, held_out = detection.split(data.test, n, n, seed=0)

networks = {}
for label, kind, seed in (("convnet", "convnet", 0), ("qvc", "qvc40", 0), ("linear", "linear", 0), ("convnet-2", "convnet", 1)):
    recipe = recipe_for(kind)
    if name == "digits":
        recipe = dataclasses.replace(recipe, epochs=20)
    networks[label] = qarmor.models.build(kind, data, seed=seed, **recipe.network)
    qarmor.fit(networks[label], data.train, recipe, seed=seed)

attacks = {"pgd": PGD(loss="margin"), "fgsm": FGSM()}
attacked = detection.mixture({"convnet": networks["convnet"]}, target, attacks, seed=0)
for partner in ("qvc", "linear", "convnet-2"):
    pair = {"convnet": networks["convnet"], partner: networks[partner]}
    knows = detection.joint_mixture(pair, target, attacks, seed=0)
    seen = [detection.observe_attacked(pair, images) for images in (attacked, knows)]
    rows = detection.evaluate_detection(detection.observe(pair, clean), seen, detection.observe(pair, held_out))
    print(f"convnet watched by {partner}, {n} images each")
    for row in rows:
        if row.parameters["by"] == "all" and not row.metric.startswith("score_undetected"):
            counted = "" if row.metric.startswith("auc") else f" of {row.n}"
            print(f"  {row.source or '(clean)':18s} {row.metric:32s} {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]{counted}")

# Images that arrive one by one
detector = detection.Detector(networks["convnet"], networks["qvc"])
for image in clean.x[:3]:
    print(f"score {float(detector.score(image)):.3f}, alarm: {bool(detector.alarm(image))}")
