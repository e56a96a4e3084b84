"""These tests are about the kernels: they are on, whatever the environment of the run says."""

import pytest

from notus.engine.cpu.switch import VARIABLE, kernels_on


@pytest.fixture(autouse=True)
def switched_on(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    kernels_on.cache_clear()
    yield
    kernels_on.cache_clear()
