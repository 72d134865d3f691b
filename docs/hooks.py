"""What the site needs beyond its plugins: formulas without scripts, and docstrings that describe two arguments in one line."""

import re
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): ", re.MULTILINE)
_CODE = re.compile(r"(``.*?``)", re.DOTALL)


def _formula(source: str, language: str, css_class: str, options: dict[str, Any], md: Any, **more: Any) -> str:
    """A fence ``math`` as MathML, which browsers draw by themselves."""
    return f'<div class="formula">{convert(source, display="block")}</div>'


def on_config(config: Any) -> Any:
    """Hand the fence to SuperFences; YAML can only name functions of installed packages."""
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [{"name": "math", "class": "math", "format": _formula}]}
    return config


def separate(docstring: str) -> str:
    """``low, high: bounds`` as two entries, so that each argument is looked up in the signature, and a wrong name is a warning.

    Only names in the sections Args and Attributes; in Raises they are no arguments.
    """
    lines, section, found = docstring.split("\n"), "", []
    start = 0
    while start < len(lines):
        line = lines[start]
        if line and not line.startswith(" "):
            section = line.rstrip(":")
        entry = _SHARED.match(line) if section in ("Args", "Attributes") else None
        stop = start + 1
        if entry is None:
            found.append(line)
        else:
            depth = len(entry[1])
            while stop < len(lines) and lines[stop].startswith(" " * (depth + 1)):
                stop += 1
            rest = [line[entry.end() :], *lines[start + 1 : stop]]
            for name in entry[2].split(", "):
                found += [f"{entry[1]}{name}: {rest[0]}", *rest[1:]]
        start = stop
    return "\n".join(found)


def escape(docstring: str) -> str:
    """``<Z_0>`` outside of code is an expectation, not a tag of HTML."""
    return "".join(part if part.startswith("``") else part.replace("<", "&lt;") for part in _CODE.split(docstring))


class Prepared(Extension):
    """Every docstring, before it is parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute that was read."""
        if obj.docstring is not None:
            obj.docstring.value = escape(separate(obj.docstring.value))
