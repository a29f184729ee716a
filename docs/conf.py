"""Sphinx's configuration; tools/docs builds. Pages are Markdown (MyST), API pages come from docstrings, tutorials are run."""

import re
from pathlib import Path

import rtrnn

ROOT = Path(__file__).parents[1]

project = "rtrnn"
copyright = "the rtrnn authors, MIT licence"
version = release = rtrnn.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["conf.py"]
if not (ROOT / "SECURITY.md").exists():
    exclude_patterns.append("security.md")

# -- links: each to a page, a heading or a docstring must exist; nothing is fetched -----------
nitpicky = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
#: Types of other packages, and of Python's own library, in signatures.
nitpick_ignore_regex = [
    ("py:.*", r"(rtrnn\.)?_core\..*|rtrnn\.ctc\.T"),
    ("py:.*", r"(numpy|np|npt|os|collections|pathlib|typing)\..*"),
    ("py:.*", r"(Any|ArrayLike|Array|Path|Mapping|Sequence|NamedTuple|Exception|Buffer|Limits|Weights|StateMap|InitialStates)"),
    ("py:.*", r"(TypeError|ValueError|ImportError|OSError|UserWarning|None|bool|bytes|dict|float|int|list|object|str|tuple)"),
]

# -- API -----------------------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
default_role = "literal"

# -- tutorials: scripts in cells, run while building ---------------------------------------------------------
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_in_temp = True   # what a tutorial writes goes away with it
nb_execution_raise_on_error = True
nb_execution_timeout = 300   # seconds for a cell, on a busy machine
nb_merge_streams = True

html_theme = "furo"
html_title = f"rtrnn {version}"
html_copy_source = False
html_show_sphinx = False


_PYTHON = """# ---
# jupyter:
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

"""


def _before_reading(app: object, page: str, content: list[str]) -> None:
    # Links that are right where the page is read as a file, to pages that stand elsewhere on the site.
    for path, target in (("cpp/README", "design"), ("SECURITY", "security")):
        content[0] = re.sub(rf"\]\((?:\.\./)+{path}\.md", f"](/{target}.md", content[0])
    if page.startswith("tutorials/"):   # colours also where it is not run
        content[0] = _PYTHON + content[0]
    if page == "index":   # entries of the contents for pages that are not there (yet), which would be warned of
        content[0] = re.sub(r"^\S+\*$", lambda match: match[0] if _matches(match[0]) else "", content[0], flags=re.MULTILINE)


def _matches(pattern: str) -> bool:
    found = [path.name for suffix in (".md", ".py") for path in Path(__file__).parent.glob(pattern + suffix)]
    return any(name not in exclude_patterns for name in found)


def _shorter_signature(*event: object) -> tuple[object, object]:
    """NumPy's alias instead of all that it stands for."""
    *_, arguments, returns = event
    return re.sub(r"[~\w.]*_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]", "ArrayLike", str(arguments or "")) or None, returns


def setup(app: object) -> None:
    app.connect("source-read", _before_reading)  # type: ignore[attr-defined]
    app.connect("autodoc-process-signature", _shorter_signature)  # type: ignore[attr-defined]
