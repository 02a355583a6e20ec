"""YAML files that people edit, read without the things that turn a slip into a surprise."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pconv.errors import ParameterError

_MAX_BYTES = 100_000
# Numbers as YAML 1.2, JSON and `dvc exp run -S` write them; YAML 1.1 takes 1e-05 for text.
_WITH_EXPONENT = re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$")
_AMBIGUOUS = re.compile(r"^[-+]?0\d|:")  # 010 is 8 in YAML 1.1, 10 in YAML 1.2; and 1:30 is 90


class _StrictLoader(yaml.SafeLoader):
    """Plain values only, no repeated keys, no aliases (which can blow up a file a millionfold)."""

    def construct_yaml_int(self, node: Any) -> int:
        if _AMBIGUOUS.search(node.value):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the number {node.value} is read in two ways; write it in plain digits",
                node.start_mark,
            )
        return super().construct_yaml_int(node)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            start = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, "aliases (*name) are not read here", start
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or a mapping; wanted a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", _WITH_EXPONENT, list("-+.0123456789")
)


def read_plain_yaml(path: Path, *, max_bytes: int = _MAX_BYTES) -> Any:
    """Return what a YAML file holds: nested dicts and lists of plain values, or None.

    Args:
        path: The file.
        max_bytes: A larger one is refused.

    Raises:
        ParameterError: If the file is not readable, too large, or not plain YAML.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise ParameterError(f"{path}: over {max_bytes} bytes; wanted a parameter file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: not readable as UTF-8 text ({error})") from error
    return parse_plain_yaml(text, str(path))


def parse_plain_yaml(text: str, name: str) -> Any:
    """Return what a text of YAML holds, as `read_plain_yaml` does of a file.

    Args:
        text: The YAML.
        name: What it is, for messages.

    Raises:
        ParameterError: If it is not plain YAML.
    """
    try:
        return _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{name}: not valid YAML: {reason}") from error
