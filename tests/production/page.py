"""docs/production.md as commands: what root types, by the heading that it is below."""

import re
from collections.abc import Mapping

from tests.production.host import ROOT

PAGE = ROOT / "docs" / "production.md"
_PART = re.compile(r"(?m)^## (?P<heading>.+)$|^```sh\n(?P<commands>[\s\S]*?)^```$")


def read() -> Mapping[str, list[str]]:
    """The blocks of commands below each heading, in order."""
    blocks: dict[str, list[str]] = {}
    heading = ""
    for part in _PART.finditer(PAGE.read_text(encoding="utf-8")):
        heading = part["heading"] or heading
        if part["commands"]:
            blocks.setdefault(heading, []).append(part["commands"])
    return blocks
