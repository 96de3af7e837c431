"""How the readers are tried."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shared.errors import Malformed
from shared.payload import Fields
from shared.source import Source

SOURCE = Source("fleet", "emnify", timezone=ZoneInfo("Asia/Shanghai"))


def of(value: Any, source: Source = SOURCE) -> Fields:
    return Fields(source, {"x": value})


def reason(read: Any) -> str:
    with pytest.raises(Malformed) as caught:
        read()
    return caught.value.reason
