"""Which code counts: statements of a module and of what it imports, as far as it is ours or lies beside it."""

import sys

import pytest
import torch

from qarmor.attacks import PGD
from qarmor.models import QVC, Linear
from qarmor.studies import fingerprint as under_test
from qarmor.studies.fingerprint import fingerprint, modules_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write modules of somebody's own, and tell how they are hashed now; named after the test's folder, so that no test sees another's."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path.name.replace("-", "_")

    class Project:
        name = package

        def write(self, **files: str) -> None:
            for name, text in files.items():
                path = tmp_path / package / f"{name.replace('__in__', '/')}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace("PACKAGE", package))

        def hash(self, module: str = "main") -> str:
            under_test._fingerprint.cache_clear()
            return fingerprint({f"{package}.{module}"})

    yield Project()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


MAIN = '''"""What it is."""
import math


def area(r):
    """Of a circle."""
    return math.pi * r**2  # r squared


class Thing:
    """A thing."""

    size = 1
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# r squared", "# squared"),
        ('"""What it is."""', '"""What it was."""'),
        ('"""What it is."""\n', ""),
        ('"""Of a circle."""', '"""Of a circle of radius r."""'),
        ('    """A thing."""\n\n', ""),
        ("math.pi * r**2", "(math.pi * r ** 2)"),
        ("import math\n", "import math\n\n\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(project, old, new):
    project.write(main=MAIN)
    before = project.hash()
    assert old in MAIN
    project.write(main=MAIN.replace(old, new))
    assert project.hash() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("size = 1", "size = 2"),
        ("size = 1", 'size = "1"'),
        ("size = 1", "size = 1.0"),
        ("import math", "import math\nimport cmath"),
        ("area", "areas"),
    ],
)
def test_statements_count(project, old, new):
    project.write(main=MAIN)
    before = project.hash()
    project.write(main=MAIN.replace(old, new))
    assert project.hash() != before
    project.write(main=MAIN)
    assert project.hash() == before


@pytest.mark.parametrize(
    "line",
    [
        "from . import side",
        "from .side import value",
        "from PACKAGE import side",
        "from PACKAGE.side import value",
        "import PACKAGE.side",
        "def later():\n    from .side import value\n    return value",
        "try:\n    from .side import value\nexcept ImportError:\n    value = 0",
    ],
)
def test_what_is_imported_from_beside_counts_and_what_that_imports(project, line):
    project.write(__init__="", main=line + "\n", side="from .deep import value\n", deep="value = 1\n", other="value = 1\n")
    before = project.hash()
    project.write(deep="value = 1  # one\n", other="value = 2\n")
    assert project.hash() == before
    project.write(deep="value = 2\n")
    assert project.hash() != before


def test_relative_imports_from_further_up_and_packages(project):
    project.write(
        __init__="", sub__in____init__="value = 0\n", sub__in__main="from ..side import value\nfrom . import value as own\n", side="value = 1\n"
    )
    before = project.hash("sub.main")
    project.write(side="value = 2\n")
    after = project.hash("sub.main")
    assert after != before
    project.write(sub__in____init__="value = 1\n")  # of other people's packages, __init__ counts
    assert project.hash("sub.main") != after


def test_modules_that_import_each_other(project):
    project.write(__init__="", main="from . import side\n", side="from . import main\nvalue = 1\n")
    before = project.hash()
    project.write(side="from . import main\nvalue = 2\n")
    assert project.hash() != before


def test_what_is_imported_for_type_checkers_only_does_not_count(project):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .side import value\n"
    project.write(__init__="", main=text, side="value = 1\n")
    before = project.hash()
    project.write(side="value = 2\n")
    assert project.hash() == before
    project.write(main=f"{text}from .side import value\n")
    with_side = project.hash()
    project.write(side="value = 3\n")
    assert project.hash() != with_side


def test_installed_packages_do_not_count_and_our_modules_do(project):
    # torch lies where packages are installed; what the fingerprint reads are the files that it finds, so it is enough to see which
    project.write(main="import torch\nimport json\nfrom qarmor.attacks.losses import LOSSES\nfrom qarmor import attacks\n")
    assert {path.name for path in files_of(project.name + ".main")} >= {"main.py", "losses.py"}
    assert not [path for path in files_of(project.name + ".main") if "torch" in path.parts or "json" in path.parts]


def files_of(module):
    """The files that a fingerprint is of."""
    seen, parse = [], under_test._parse
    under_test._fingerprint.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "_parse", lambda path: seen.append(path) or parse(path))
        fingerprint({module})
    under_test._fingerprint.cache_clear()
    return set(seen)


def test_other_people_s_code_depends_on_all_that_our_packages_pass_on(project):
    project.write(main="from qarmor.attacks import PGD\n")
    assert {"__init__.py", "gradient.py", "base.py", "losses.py"} <= {path.name for path in files_of(project.name + ".main")}


def test_our_package_files_are_left_out_of_our_own():
    found = files_of("qarmor.studies.tasks.craft")
    assert {"craft.py", "common.py", "types.py"} <= {path.name for path in found}
    assert not [path for path in found if path.name == "__init__.py"]
    assert not {"plan.py", "store.py", "task.py", "engine.py", "collect.py", "spec.py", "gradient.py", "convnet.py"} & {path.name for path in found}


def test_modules_of_objects():
    assert modules_of(PGD()) == {"qarmor.attacks.gradient", "qarmor.attacks.base"}
    of_circuit = modules_of(*QVC(2, 1, 2).modules())
    assert {"qarmor.models.qvc", "qarmor.models.network", "qarmor.types"} <= of_circuit
    assert not {m for m in of_circuit if m.split(".")[0] != "qarmor"}
    assert "qarmor.models.qvc" not in modules_of(*Linear((4,), 2).modules())
    assert modules_of(torch.nn.Linear(2, 2), len, 3) == set()


def test_modules_of_other_people_s_objects(project):
    project.write(
        __init__="", side="class Base:\n    pass\n", main="from .side import Base\nclass Mine(Base):\n    pass\ndef make():\n    return Mine()\n"
    )
    import importlib

    main = importlib.import_module(f"{project.name}.main")
    assert modules_of(main.make()) == {f"{project.name}.main", f"{project.name}.side"}
    assert modules_of(main.make) == modules_of(main.Mine) - {f"{project.name}.side"} == {f"{project.name}.main"}


def test_what_cannot_be_read_is_one_line(project):
    project.write(__init__="", main="from . import side\n", side="def broken(:\n")
    with pytest.raises(ValueError, match=r"side\.py cannot be read as Python: ") as caught:
        project.hash()
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"module '.*\.none' cannot be found"):
        project.hash("none")
    with pytest.raises(ValueError, match=r"module 'no_such_package\.none' cannot be found"):
        fingerprint({"no_such_package.none"})


def test_the_order_of_modules_does_not_matter_and_each_counts():
    one, two = "qarmor.attacks.gradient", "qarmor.evaluation.craft"
    assert fingerprint([one, two]) == fingerprint([two, one, two])
    assert len({fingerprint([one]), fingerprint([two]), fingerprint([one, two])}) == 3
