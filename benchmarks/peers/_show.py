"""The table as text and the figure as SVG, from the rows of the JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import measure

from peers._contract import STEPS

TITLES = {"forward": "forward", "train": "training step", "attack": "attack step"}


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def text(rows: Sequence[Mapping[str, Any]], checked: bool = False) -> str:
    """A line a peer: milliseconds a sample and times ours, or with ``checked`` the errors; then why cells are empty, and modes."""
    lines, notes = [], []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        mine = {row["step"]: row for row in rows if row["peer"] == peer}
        label = mine["forward"]["label"]
        line = {"peer": label}
        for step, row in mine.items():
            mark = ""
            if row["note"]:
                same = [i for i, note in enumerate(notes) if note == (label, row["note"])]
                notes += [] if same else [(label, row["note"])]
                mark = f"[{(same[0] if same else len(notes) - 1) + 1}]"
            if checked:
                line[f"{step} error"] = mark or f"{row['error']:.0e}"
            else:
                line[f"{step} ms"] = mark or _number(row["ms_per_sample"])
                line[f"{step} x"] = "" if row["ratio"] is None else _number(row["ratio"])
        if not checked:
            line["batch"] = "/".join("-" if mine[s]["batch"] is None else str(mine[s]["batch"]) for s in STEPS)
        line["set-up s"] = "-" if mine["forward"]["setup_s"] is None else f"{mine['forward']['setup_s']:.1f}"
        lines.append(line)
    said = [f"[{i}] {label}: {note}" for i, (label, note) in enumerate(notes, 1)]
    return "\n".join([measure.table(lines, list(lines[0])), *said])


def modes(rows: Sequence[Mapping[str, Any]]) -> str:
    """How each peer is used."""
    return "\n".join(f"- {mode}" for mode in dict.fromkeys(row["mode"] for row in rows) if mode)


def figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Milliseconds a sample against amplitudes, both logarithmic, a panel a step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.hashsalt": "qarmor", "font.size": 9}):
        fig, panels = plt.subplots(1, len(STEPS), figsize=(11, 4.2), sharey=True, layout="constrained")
        names = list(dict.fromkeys(row["peer"] for row in rows))
        qubits = sorted({row["qubits"] for row in rows})
        for panel, step in zip(panels, STEPS, strict=True):
            for i, name in enumerate(names):
                mine = [row for row in rows if row["peer"] == name and row["step"] == step and row["ms_per_sample"] is not None]
                if name == "qarmor_unfrozen" and step != "attack":
                    continue  # the same code as qarmor's
                if mine:
                    mine.sort(key=lambda row: row["qubits"])
                    ours = name.startswith("qarmor")
                    panel.plot(
                        [2 ** row["qubits"] for row in mine],
                        [row["ms_per_sample"] for row in mine],
                        marker="o" if ours else "sv^D<>px*"[i % 9],
                        markersize=4,
                        linewidth=2.2 if ours else 1,
                        linestyle="--" if name == "qarmor_unfrozen" else "-",
                        color="black" if ours else f"C{i % 10}",
                        label=mine[0]["label"],
                    )
            panel.set(xscale="log", yscale="log", title=TITLES[step], xlabel="amplitudes")
            panel.set_xticks([2**n for n in qubits], [f"$2^{{{n}}}$" for n in qubits])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        panels[0].set_ylabel(f"ms a sample, {rows[0]['layers']} layers, one core")
        handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, metadata={"Date": None})
        plt.close(fig)
