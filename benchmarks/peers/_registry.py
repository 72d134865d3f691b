"""Which peers there are, in the order of the table."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """A script of this folder.

    Attributes:
        name: on the command line.
        label: in the table and the figure.
        packages: distributions that it needs beside qarmor's.
        known: what is known to come out wrong, and why, by step. It is checked as the rest, and said in the table.
        module: to import; its docstring says in which mode the library is used.
    """

    name: str
    label: str
    packages: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    module: str = ""

    def __post_init__(self) -> None:
        if not self.module:
            object.__setattr__(self, "module", f"peers.{self.name}")

    @property
    def mode(self) -> str:
        """First line of the script, read without importing what it needs."""
        path = Path(__file__).parent / f"{self.name}.py"
        return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] if path.exists() else ""

    @property
    def install(self) -> str:
        """How to get it."""
        return f"pip install -c constraints-bench.txt {' '.join(self.packages)}"


OURS = "qarmor"
_ZERO_PIXELS = "its adjoint gradient of the encoded state is NaN where pixels are zero, as in images; without zeros it is right"
PEERS = {
    peer.name: peer
    for peer in (
        Peer("qarmor", "QArmor, attack frozen"),
        Peer("qarmor_unfrozen", "QArmor, not frozen"),
        Peer("kron", "plain PyTorch (kron)"),
        Peer("qulacs", "Qulacs", ("qulacs",)),
        Peer("tensorcircuit", "TensorCircuit-NG, JAX", ("tensorcircuit-ng", "jax")),
        Peer("pennylane_jax", "PennyLane default.qubit, JAX", ("pennylane", "jax")),
        Peer("qujax", "qujax", ("qujax", "jax")),
        Peer("pennylane_torch", "PennyLane default.qubit, torch", ("pennylane",)),
        Peer("deepquantum", "DeepQuantum", ("deepquantum",)),
        Peer("pennylane_lightning", "PennyLane lightning.qubit", ("pennylane", "pennylane_lightning"), {"attack": _ZERO_PIXELS}),
    )
}


def versions() -> tuple[str, ...]:
    """Distributions of all peers that are installed here."""
    wanted = dict.fromkeys(("torch", "numba", "numpy", *(name for peer in PEERS.values() for name in peer.packages), "jaxlib"))
    found = {dist.metadata["Name"].lower().replace("_", "-") for dist in metadata.distributions()}
    return tuple(name for name in wanted if name.replace("_", "-") in found)
