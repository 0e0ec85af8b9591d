"""docs/deviations.md and docs/parity.md say what the tests here check, no more and no less."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from multiloss import losses, metrics
from tests.parity import certificate_page, certificates

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
DEVIATION_TESTS = [*(path.stem for path in HERE.glob("test_*deviations.py")), "test_ctc"]


# ── Deviations ──────────────────────────────────────────────────────────────────────────────────────────────────


def deviation_rows() -> list[str]:
    page = (DOCS / "deviations.md").read_text()
    return [line for line in page.splitlines() if line.startswith("|") and not line.startswith(("| What ", "|---"))]


def defined_in(file: str) -> list[str]:
    module = importlib.import_module(f"tests.parity.{file}")
    return [
        name
        for name, thing in vars(module).items()
        if name.startswith("test_") and inspect.isfunction(thing) and thing.__module__ == module.__name__
    ]


def test_every_deviation_is_a_row_with_a_test_and_every_test_a_row() -> None:
    written = [re.findall(r"`(test_\w+)` \|$", row) for row in deviation_rows()]
    assert all(len(tests) == 1 for tests in written)
    defined = [name for file in DEVIATION_TESTS for name in defined_in(file)]
    assert sorted(name for (name,) in written) == sorted(defined)


def test_every_deviation_has_an_anchor_called_like_its_test() -> None:
    for row in deviation_rows():
        assert re.match(r'\| <a id="(\w+)"></a>.*`test_\1` \|$', row), f"begin the row with its anchor: {row}"


# ── Parity ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_public_name_is_on_the_page_once() -> None:
    page = (DOCS / "parity.md").read_text()
    for space, module in certificates.SPACES.items():
        table = page.partition(f"## {space.capitalize()}\n")[2].partition("\n## ")[0]
        names = re.findall(r"`(\w+)`", table)
        assert len(names) == len(set(names))
        for name in set(module.__all__) - certificates.NO_NUMBERS[space]:
            owner = "losses" if getattr(losses, name, None) is getattr(module, name) else space
            assert owner == "losses" or name in names, f"run nox -s parity: {space}.{name} has no row in docs/parity.md"


def test_the_page_leads_to_the_rows_there_are() -> None:
    anchors = {anchor for anchor, _ in certificate_page.deviations()}
    assert len(anchors) == len(deviation_rows())
    linked = set(re.findall(r"deviations\.md#(\w+)", (DOCS / "parity.md").read_text()))
    assert linked <= anchors
    assert set(certificate_page.ELSE.values()) <= anchors
    named = {anchor for anchor, names in certificate_page.deviations() if names}
    assert linked == named, "run nox -s parity: docs/parity.md does not link all rows of docs/deviations.md"


# ── Recording ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_agreeing_keeps_the_largest_difference_of_a_loss_and_its_class() -> None:
    kept = certificates.Certificates()
    kept.agree(losses.huber, "torch", [1.0, 1.0], [1.0, 1.0 + 1e-9], rtol=1e-6)
    kept.agree(losses.Huber(), "torch", [2e6 + 4.0], [2e6], rtol=1e-3)
    kept.agree(losses.huber, "torch", [1.0], [1.0], quantity="gradient", rtol=0)
    assert kept.largest == {
        ("losses", "huber", "torch", "value"): pytest.approx(2e-6),
        ("losses", "huber", "torch", "gradient"): 0.0,
    }


def test_disagreeing_fails_and_is_not_kept() -> None:
    kept = certificates.Certificates()
    with pytest.raises(AssertionError, match="gradient, optax"):
        kept.agree(losses.huber, "optax", [1.0], [1.1], quantity="gradient", rtol=1e-6)
    assert not kept.largest


def test_only_what_is_public_can_be_certified_and_only_beside_a_peer_of_its_kind() -> None:
    kept = certificates.Certificates()
    with pytest.raises(LookupError, match="no public loss or metric"):
        kept.agree(np.mean, "torch", 1.0, 1.0, rtol=0)
    with pytest.raises(LookupError, match="no peer for metrics"):
        kept.agree(metrics.AUC(), "optax", 1.0, 1.0, rtol=0)


def test_differences_are_absolute_below_1_and_relative_above_it() -> None:
    assert certificates.difference([0.5], [0.25]) == 0.25
    assert certificates.difference([[500.0, 0.0]], [[400.0, 0.0]]) == 0.25
    assert certificates.difference([np.inf, np.nan], [np.inf, np.nan]) == 0
    assert certificates.difference([1e-7], [0.0]) == pytest.approx(1e-7)


def test_what_workers_kept_is_merged() -> None:
    workers = [certificates.Certificates() for _ in range(2)]
    for worker, size in zip(workers, (1e-12, 3e-12), strict=True):
        worker.agree(metrics.AUC(), "scikit-learn", 1.0, 1.0 + size, rtol=1e-6)
    kept = certificates.Certificates()
    for worker in workers:
        kept.load(json.loads(json.dumps(worker.dump())))
    assert kept.largest == {("metrics", "auc", "scikit-learn", "value"): pytest.approx(3e-12, rel=1e-3)}


def test_digits_may_move_and_comparisons_may_not() -> None:
    first = {("losses", "huber", "torch", "value"): 3.4e-16, ("losses", "huber", "torch", "gradient"): 0.0}
    page = certificate_page.page(first)
    assert "| 3e-16 / 0 |" in page
    moved = certificate_page.page(dict.fromkeys(first, 2e-9))
    assert certificate_page.structure(page) == certificate_page.structure(moved)
    fewer = certificate_page.page({("losses", "huber", "torch", "value"): 3.4e-16})
    assert certificate_page.structure(page) != certificate_page.structure(fewer)


def test_a_comparison_with_keras_that_is_missing_is_named() -> None:
    missing = certificate_page.uncompared({("losses", "huber", "Keras on NumPy", "value"): 0.0})
    assert "losses.Huber with Keras on NumPy" not in missing
    assert "losses.Huber with Keras on JAX" in missing
    assert not any("SparseCategoricalFocal" in name for name in missing)
