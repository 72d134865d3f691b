"""Made-up sections about hardware, detection and the frontier, as a study writes them."""

from itertools import pairwise
from math import exp, sqrt

KINDS = ("bit-flip", "<script>kraus")
RATES = (0.0001, 0.001, 0.01, 0.1)
CERTIFICATES = ("hypothesis_testing", "exact_l2", "linf", "linf_box")
SHARE = {"hypothesis_testing": 0.02, "exact_l2": 0.03, "linf": 0.1, "linf_box": 0.15}
EDGES = (0.02, 0.09, 0.16, 0.23, 0.3)


def wilson(k: int, n: int) -> tuple[float, float]:
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, k / n
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(value: float, n: int) -> dict:
    k = round(value * n)
    low, high = wilson(k, n)
    return {"value": k / n if n else float("nan"), "low": low, "high": high, "n": n}


def shots(exact: float, scale: float, n: int, reached: bool = True) -> dict:
    """Accuracies that rise from 0.1 to ``exact`` as shots rise past ``scale``; without ``reached`` they stop half way."""
    top = exact if reached else exact / 2
    points = [{"shots": 2**k, **share(0.1 + (top - 0.1) * (1 - exp(-(2**k) / scale)), n)} for k in range(0, 33, 2)]
    needed = next((point["shots"] for point in points if point["value"] >= 0.95 * exact), None)
    return {"exact": exact, "wanted": 0.95 * exact, "needed": needed, "majority": 0.1, "n": n, "points": points}


def noise(datasets, networks, attacks, n=120) -> list[dict]:
    """Each network without noise, then every kind, rate and place of it."""
    found = []
    for dataset in datasets:
        for network in networks:
            settings = [(kind, rate, where) for where in ("layer", "end") for kind in KINDS for rate in RATES]
            for kind, rate, where in [("", 0.0, ""), *settings]:
                value = 0.1 + 0.8 * exp(-rate * (40 if kind == "bit-flip" else 12) * (3 if where == "layer" else 0.1))
                attacked = [{"attack": attack, "eps": eps, **share(value * exp(-9 * eps), n)} for attack in attacks for eps in (0.05, 0.1)]
                about = {"kind": kind, "rate": rate, "where": where} if kind else None
                label = f"{network}, {kind} {rate:g}, {where}" if kind else network
                entry = {"dataset": dataset, "network": network, "label": label, "noise": about, "clean": share(value, 3 * n), "attacked": attacked}
                found.append(entry | {"shots": shots(value, 1e3 / (1.001 - rate), n, reached=rate < 0.1)})
    return found


def finite_shots(datasets, networks, n=120) -> list[dict]:
    return [
        {"dataset": dataset, "network": network, "shots": shots(0.8 + 0.04 * i, 10.0 ** (3 + i), n, reached=i < 2)}
        for dataset in datasets
        for i, network in enumerate(networks)
    ]


def repeats(datasets, networks, attacks, n=120) -> list[dict]:
    """Clean and attacked accuracies of three seeds, the last network's of one seed."""
    found = []
    for dataset in datasets:
        for i, target in enumerate(networks):
            seeds = [0, 1, 2] if i + 1 < len(networks) else [0]
            for source, attack, eps in [("", "", 0.0), *((networks[0], attack, eps) for attack in attacks for eps in (0.1, 0.2))]:
                values = [round((0.9 - 0.02 * seed) * exp(-4 * eps), 3) for seed in seeds]
                mean = sum(values) / len(values)
                about = {"dataset": dataset, "source": source, "target": target, "attack": attack, "eps": eps, "n": n}
                found.append(about | {"seeds": seeds, "values": values, "mean": mean, "low": mean - 0.05, "high": mean + 0.05})
    return found


def certificates(datasets, networks, attack, n=120) -> list[dict]:
    eps = [0.0, 0.005, 0.01, 0.02, 0.05, 0.1]
    found = []
    for dataset in datasets:
        for network in networks:
            curve = {"eps": eps, "attacked": [share(0.9 * exp(-8 * e), n) for e in eps]}
            curve |= {name: [share(0.9 * exp(-8 * e / SHARE[name]), n) for e in eps] for name in CERTIFICATES}
            listed = [
                {"name": name, "median": part, "low": 0.9 * part, "high": 1.1 * part, "n": n - 9, "violations": 0} for name, part in SHARE.items()
            ]
            about = {"dataset": dataset, "network": network, "attack": attack, "n": n, "slack": 1e-6, "accuracy": 0.9}
            found.append(about | {"certificates": listed, "curve": curve})
    return found


def detection(datasets, pairs, n=500) -> list[dict]:
    return [_pair(dataset, first, second, n, number) for dataset in datasets for number, (first, second) in enumerate(pairs)]


def _pair(dataset: str, first: str, second: str, n: int, number: int) -> dict:
    both = f"{first}+{second}"

    def row(metric, source, attack, by, value, among, low=0.02, high=0.3):
        found = share(value, among) | {"successes": round(value * among)}
        return {"metric": metric, "source": source, "attack": attack, "by": by, "eps_low": low, "eps_high": high, **found}

    rows = []
    for prefix, false in (("", 0.2), ("score_", 0.05)):
        rows += [row(f"{prefix}false_positive_rate", "", "", "all", false, n, None, None)]
        rows += [row(f"{prefix}undetected_error_rate", "", "", "all", 0.03, n, None, None)]
        for s, source in enumerate((first, second, both)):
            for by, attack, low, high in [
                ("all", "mixed", 0.02, 0.3),
                *(("attack", attack, 0.02, 0.3) for attack in ("pgd", "fgsm")),
                *(("eps", "mixed", low, high) for low, high in pairwise(EDGES)),
            ]:
                for metric, value in (
                    ("true_positive_rate", 0.75),
                    ("true_positive_rate_fooled", 0.85),
                    ("undetected_error_rate", 0.1),
                    ("evasion_rate", 0.2),
                ):
                    among = 0 if (by, low, metric) == ("eps", 0.02, "evasion_rate") else n // 2
                    rows.append(row(f"{prefix}{metric}", source, attack, by, value - 0.09 * (s == 2) - 0.004 * number, among, low, high))
    rows += [row("auc", source, "mixed", "all", 0.88 - 0.1 * s, 2 * n * n) for s, source in enumerate((first, second, both))]
    paper = [{"metric": "false_positive_rate", "successes": 227, "n": 1000, "low": -0.07, "high": 0.02}]
    paper += [{"metric": "true_positive_rate", "successes": 636, "n": 1000, "low": 0.06, "high": 0.16}]
    roc = [
        {"source": source, "points": [[k / 50, 1 - (1 - k / 50) ** (7 - 2 * s)] for k in range(51)]} for s, source in enumerate((first, second, both))
    ]
    about = {"dataset": dataset, "first": first, "second": second, "n": n, "threshold": 0.412, "nominal": 0.05, "rows": rows}
    return about | {"paper": paper if number == 0 else [], "roc": roc}
