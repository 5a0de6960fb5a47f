"""YAML as people mean it, for `files.read_yaml`, which alone reads it."""

import re
from typing import Any

import yaml

DEEPEST = 50  # lists and tables within one another
MOST_VALUES = 100_000  # of a file, each counted as often as an alias repeats it
LONGEST_KEY = 60  # characters of a key or a number in a refusal
MOST_DIGITS = 30
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"


class Refused(Exception):
    """What YAML allows and mixerlib does not; the mark says where it stands."""

    def __init__(self, problem: str, mark: Any):
        super().__init__(problem, mark)
        self.problem, self.mark = problem, mark


class Loader(yaml.SafeLoader):
    """YAML as people mean it: keys are text, none is there twice, numbers are decimal, `yes` and
    dates are text, and nothing grows by aliases.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.open = 0  # lists and tables that the parser is in
        self.sizes: dict[int, tuple[int, int]] = {}  # a node's id → values in it, and levels

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        self.open += 1
        if self.open > DEEPEST:
            raise Refused(f"more than {DEEPEST} lists and tables in one another", event.start_mark)
        node = super().compose_node(parent, index)
        self.open -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                raise Refused(f"`*{event.anchor}` lies in itself", event.start_mark)
        elif node is not None:
            self.sizes[id(node)] = self._size(node)
        values, levels = self.sizes.get(id(node), (0, 0))
        if values > MOST_VALUES or self.open + levels > DEEPEST + 1:
            rule = f"more than {MOST_VALUES:,} values or {DEEPEST} levels, with what aliases repeat"
            raise Refused(rule, event.start_mark)
        return node

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        sizes = [self.sizes[id(part)] for part in parts]
        return 1 + sum(size[0] for size in sizes), 1 + max((size[1] for size in sizes), default=0)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            text = str(key.value)[:LONGEST_KEY] if isinstance(key, yaml.ScalarNode) else "a table"
            if key.tag == "tag:yaml.org,2002:merge":
                raise Refused("`<<` is not read: write the keys out", key.start_mark)
            if key.tag != "tag:yaml.org,2002:str":
                raise Refused(f"`{text}` is a key and must be text: quote it", key.start_mark)
            if key.value in keys:
                raise Refused(f"`{text}` is set twice", key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        digits = text.lstrip("+-")
        if not digits.isdecimal() or (len(digits) > 1 and digits[0] == "0"):
            rule = "must be a decimal number without a leading 0"
            raise Refused(f"{text[:LONGEST_KEY]} {rule}", node.start_mark)
        if len(digits) > MOST_DIGITS:
            raise Refused(f"a number of {len(digits):,} digits is too large", node.start_mark)
        return int(text)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = str(node.value).lower()
        if text.lstrip("+-") in (".nan", ".inf"):  # for the check of its key to refuse
            return float(text.replace(".", ""))
        if not _DECIMAL.fullmatch(text):
            raise Refused(f"{text[:LONGEST_KEY]} must be a decimal number", node.start_mark)
        return float(text)

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        if str(node.value).lower() not in ("true", "false"):
            text = str(node.value)[:LONGEST_KEY]
            raise Refused(f"{text} must be true or false", node.start_mark)
        return str(node.value).lower() == "true"


# `on`, `off`, `yes` and `no` are text, and so are dates
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in (f"{_TAG}bool", f"{_TAG}timestamp")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?i:true|false)$"), list("tTfF"))
# No other tag is known: no binary, no sets, no Python
_KNOWN = (None, *(f"{_TAG}{kind}" for kind in ("map", "seq", "str", "null")))
Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _KNOWN}
Loader.add_constructor(f"{_TAG}int", Loader.construct_yaml_int)
Loader.add_constructor(f"{_TAG}float", Loader.construct_yaml_float)
Loader.add_constructor(f"{_TAG}bool", Loader.construct_yaml_bool)
