"""The tables of the library's page: every registered model and every recipe, as the code has them.

```{catalogue} models
```

Parameters and MACs are the closed forms' values; a model without any is measured, by its shapes.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from docutils import nodes
from docutils.statemachine import StringList
from mixerbook import ROOT
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mixerlib import costs
from mixerlib.models import Entry, create_model, list_models, list_relatives, model_entry
from mixerlib.pages import digits, listed, table
from mixerlib.training import list_recipes, load_recipe

RECIPES = ROOT / "mixerlib" / "training" / "recipes"
EXPECTED = re.compile(r"^# Expected: \W?([^(\n]*? %)", re.M)


def in_words(options: Mapping[str, Any], order: Sequence[str] = ()) -> str:
    """Options with their values, such as "dim 64, ratio 3/5"; those in `order` come first."""
    known = [name for name in order if name in options]
    names = [*known, *(name for name in options if name not in known)]
    return ", ".join(f"{name} {options[name]}" for name in names).replace("_", r"\_")


def differing(entry: Entry) -> str:
    """The options that a name has beside those of its family; a family's, beside ConvMixer's."""
    base = entry.family
    if entry.name == entry.family:
        base = "convmixer" if entry.name.startswith("splitmixer") else ""
    usual = model_entry(base).defaults if base else {}
    others = {n: v for n, v in entry.defaults.items() if (n, v) not in usual.items()}
    options = in_words(others, [*inspect.signature(entry.model).parameters])
    same = f"as `{base}`" if base else ""
    return ", with ".join(text for text in (same, options) if text)


def counted(entry: Entry) -> tuple[int, int]:
    """The parameters of a model as it is registered, and its MACs for one image of its size."""
    if entry.family in costs.SIZED:
        size = costs.size_formulas(entry.family).counts(entry.defaults, entry.image_size)
        return size.total("params"), size.total("macs")
    if entry.family in costs.MEASURED_ONLY:
        with torch.device("meta"):
            counts = costs.measure(create_model(entry.name), entry.image_size)
        return counts.total("params"), costs.macs(counts)
    forms, options = costs.formulas(entry.family), entry.defaults
    totals = (forms.total("params"), costs.macs(forms))
    params, macs = (costs.value_of(x, entry.family, options, entry.image_size) for x in totals)
    return int(params), int(macs)


def models() -> str:
    """A Markdown table: each family of mixers, and then its presets."""
    return listing((*costs.FAMILIES, *costs.MEASURED_ONLY), list_models())


def relatives() -> str:
    """The same of the networks that mixers are compared with."""
    return listing(costs.SIZED, list_relatives())


def listing(families: Sequence[str], names: Sequence[str]) -> str:
    """A Markdown table: each family, and then its presets."""
    entries = [model_entry(name) for name in names]
    entries.sort(key=lambda entry: (families.index(entry.family), entry.name != entry.family))
    rows = []
    for entry in entries:
        params, macs = counted(entry)
        in_millions = digits(macs / 1e6, 4)
        rows.append(
            [f"`{entry.name}`", f"{params:,}", in_millions, entry.image_size, differing(entry)]
        )
    head = ["name", "parameters", "million MACs", "image side", "options"]
    return table(head, rows, text_columns=(0, -1))


def expected(name: str) -> str:
    """The accuracy that a recipe's file says to expect of it; a dash where there is none."""
    match = EXPECTED.search((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    return match[1] if match else "–"


def recipes() -> str:
    """Markdown: for each folder of recipes a table that opens when it is clicked."""
    parts = []
    for folder, names in groupby(list_recipes(), key=lambda name: name.partition("/")[0]):
        rows, data = [], set()
        for name in names:
            recipe = load_recipe(name)
            data.add(recipe.dataset)
            options = f" with {in_words(recipe.model_options)}" if recipe.model_options else ""
            numbers = expected(name), recipe.epochs, recipe.batch_size
            rows.append([f"`{name}`", *numbers, f"`{recipe.model}`{options}"])
        head = ["name", "expected", "epochs", "batch size", "model"]
        title = f"{folder}: {len(rows)} recipe{'s' * (len(rows) > 1)} on {listed(sorted(data))}"
        parts += [f":::{{dropdown}} {title}", table(head, rows, (0, -1)), ":::", ""]
    return "\n".join(parts)


class Catalogue(SphinxDirective):
    """Puts one of the three in its place, as if it had been written there."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        tables = {"models": models, "relatives": relatives, "recipes": recipes}
        if self.arguments[0] not in tables:
            raise self.error(f"`catalogue` {self.arguments[0]!r} must be one of {[*tables]}")
        sources = [*(ROOT / "mixerlib" / "models").rglob("*.py"), *RECIPES.rglob("*.yaml")]
        for path in sources:
            self.env.note_dependency(str(path))
        lines = tables[self.arguments[0]]().split("\n")
        node = nodes.container(classes=["catalogue"])
        self.state.nested_parse(StringList(lines, source=__file__), self.content_offset, node)
        return [node]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("catalogue", Catalogue)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
