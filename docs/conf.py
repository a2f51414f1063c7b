"""How Sphinx builds the documentation; `make -C docs` runs it."""

import sys
import warnings
from pathlib import Path

import fastopt

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
# Scripts of the gallery run with every warning but these as an error.
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

project = "fastopt"
author = "the fastopt developers"
version = release = fastopt.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "rule_pages",
    "reference_pages",
    "internal_links",
]
exclude_patterns = [
    "_build",
    "gallery",
    "templates",
    "sg_execution_times.rst",
    "**/sg_execution_times.rst",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
templates_path = ["templates"]
autodoc_typehints = "none"  # the docstrings state the types
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "code"  # for names in docstrings of properties, which numpydoc inserts as they are

nitpick_ignore_regex = [("py:.*", r"(?!fastopt).*")]  # links to other projects' names

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "which_rule",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 30,
    "matplotlib_animations": False,
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", "gallery_style.reset"),
    "image_srcset": ["2x"],
    "doc_module": ("fastopt",),
    "backreferences_dir": "which_rule/backreferences",
    "reference_url": {"fastopt": None},
    "remove_config_comments": True,
}
# config.cache: the settings of the gallery contain functions.  ref.python: an attribute of several
# estimators has one name.
suppress_warnings = ["config.cache", "ref.python"]

html_theme = "pydata_sphinx_theme"
html_title = "fastopt"
html_static_path = ["static"]
html_css_files = ["fastopt.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    # Pages of which_rule get the whole width, since they have code; a page may match one pattern.
    # A star matches no slash.
    "secondary_sidebar_items": {
        "which_rule/*": [],
        "[!w]*": ["page-toc"],
        "[!w]*/**": ["page-toc"],
    },
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "footer_start": [],
    "footer_end": [],
}
# Pages without subpages have no sidebar.
html_sidebars = {name: [] for name in ("index", "benchmarks", "changelog", "glossary")}
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}
