"""Which code a result depends on: a hash over the syntax trees of modules, closed over their imports.

Comments, docstrings, layout, and imports for type checkers only do not count. Package ``__init__`` files of QArmor pass names on or turn them into
objects, and are left out: else every module of a package would depend on every other. Only other people's code that imports one depends on all
that it passes on. Of other people's code, what lies beside the module counts, installed packages don't.
"""

import ast
import functools
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
_INSTALLED = tuple(
    {Path(p) for p in (*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))}
)


def fingerprint(modules: Iterable[str]) -> str:
    """A hash (hex) of the code of ``modules`` and of everything that they import, as far as it is ours or lies beside them.

    Raises:
        ValueError: a module that cannot be found or parsed.
    """
    return _fingerprint(frozenset(modules))


@functools.cache
def _fingerprint(modules: frozenset[str]) -> str:
    files: dict[Path, str] = {}
    waiting = [_file(name) for name in sorted(modules)]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        tree = _parse(path)
        files[path] = _tree_digest(tree)
        waiting += [found for name in sorted(_imports(tree)) if (found := _beside(name, path)) is not None]
    text = "\n".join(sorted(f"{_label(path)} {digest}" for path, digest in files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def modules_of(*objects: object) -> set[str]:
    """The modules in which functions, or the classes of objects and their bases, are written; of installed ones only QArmor's."""
    names = set()
    for thing in objects:
        for owner in (*type(thing).__mro__, thing):
            name = owner.__dict__.get("__module__") if isinstance(owner, type) else getattr(owner, "__module__", None)
            if isinstance(name, str) and _counts(name):
                names.add(name)
    return names


@functools.cache
def _counts(module: str) -> bool:
    spec = importlib.util.find_spec(module) if module not in ("builtins", "__main__") else None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return False
    path = Path(spec.origin)
    if path.is_relative_to(PACKAGE):
        return path.name != "__init__.py"
    return not _is_installed(path)


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _INSTALLED if folder != Path(folder.anchor))


def _file(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"module {module!r} cannot be found: {error}") from error
    if spec is None or spec.origin is None:
        raise ValueError(f"module {module!r} cannot be found")
    return Path(spec.origin)


def _parse(path: Path) -> ast.Module:
    if path.suffix != ".py":  # a compiled extension: its bytes stand for its code
        return ast.parse(repr(hashlib.sha256(path.read_bytes()).hexdigest()) + ".x")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as Python: {error}") from error


def _tree_digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))]  # type: ignore[attr-defined]
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def _dump(node: object) -> str:
    """A syntax tree as text that is the same under every Python: without fields that are empty, which versions add."""
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields if value is not None and value != [])})"


def _only_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(tree: ast.Module) -> set[str]:
    """Dotted names that might be modules; a name inside a module (``from m import f``) is found to be none later."""
    names = set()
    skipped = {id(n) for node in ast.walk(tree) if isinstance(node, ast.If) and _only_for_types(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ("." * node.level) + (node.module or "")
            names |= {base} | {f"{base}{'' if base.endswith('.') else '.'}{alias.name}" for alias in node.names}
    return names


def _beside(name: str, importer: Path) -> Path | None:
    """The file of module ``name`` if it counts for ``importer``, else None."""
    ours = importer.is_relative_to(PACKAGE)
    if name.startswith("."):
        level = len(name) - len(name.lstrip("."))
        base, parts = importer.parents[level - 1], name.lstrip(".").split(".")
    elif name.split(".")[0] == "qarmor":
        base, parts = PACKAGE, name.split(".")[1:]
    elif ours or _is_installed(importer):
        return None
    else:
        return _found_beside(name, importer)
    path = base.joinpath(*[p for p in parts if p])
    if path.with_suffix(".py").is_file() and path != base:
        return path.with_suffix(".py")
    package = path / "__init__.py"
    return package if not ours and package.is_file() else None


def _found_beside(name: str, importer: Path) -> Path | None:
    """The file of module ``name`` as other people's code imports it: from the folder of the importer or of a package around it."""
    for base in importer.parents:
        path = base.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file() and file != importer:
                return file
        if str(base) in sys.path or base == Path.cwd():
            return None
    return None


def _label(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
