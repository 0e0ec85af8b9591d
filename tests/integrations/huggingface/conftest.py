"""Hugging Face's Trainer around multiloss, on one CPU, offline."""

from __future__ import annotations

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_configure(config: pytest.Config) -> None:
    for ignored in (
        "ignore::UserWarning:torch.utils.data",
        "ignore::FutureWarning:transformers",
        "ignore::DeprecationWarning",
    ):
        config.addinivalue_line("filterwarnings", ignored)
