"""Which backend runs a call: the tensors' own, else the active one; never a silent fallback."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from multiloss import _errors, available_backends, get_backend, losses, set_backend, use_backend
from multiloss._registry import backend_of, load_backend, owner_of
from tests.conftest import BACKENDS, make_tensor


def test_tensors_own_their_call(backend, tensor):
    with use_backend("numpy"):
        assert owner_of(tensor([1.0])) is backend
        assert owner_of(1.0, None, tensor([1.0]), [2.0]) is backend


def test_host_data_goes_to_the_active_backend(backend):
    for host in (np.ones(2), [1.0, 2.0], 1.0, np.float32(1.0)):
        assert backend_of(host).backend is backend


def test_numpy_arrays_join_the_tensors_beside_them(backend, tensor):
    result = losses.mean_squared_error(np.ones(2, np.float32), tensor([1.0, 3.0]))
    assert owner_of(result) is backend
    assert float(result) == 2.0


def test_use_backend_ends_with_its_block():
    before = get_backend()
    for name in BACKENDS:
        with use_backend(name) as inner:
            assert get_backend() is inner is load_backend(name)
            with use_backend("numpy"):
                assert get_backend().name == "numpy"
            assert get_backend() is inner
    assert get_backend() is before


def test_use_backend_ends_with_an_error_too():
    before = get_backend()
    with pytest.raises(RuntimeError, match="inside"), use_backend(BACKENDS[-1]):
        raise RuntimeError("inside")
    assert get_backend() is before


def test_set_backend_is_for_the_process_and_use_backend_for_the_thread():
    set_backend(BACKENDS[-1])
    seen = []
    with use_backend("numpy"):
        worker = threading.Thread(target=lambda: seen.append(get_backend().name))
        worker.start()
        worker.join()
        assert get_backend().name == "numpy"
    assert seen == [BACKENDS[-1]]


@pytest.mark.parametrize("choose", [set_backend, lambda name: use_backend(name).__enter__()])
def test_an_unknown_backend_is_refused_at_once(choose):
    before = get_backend()
    with pytest.raises(_errors.UnknownNameError, match="numpy"):
        choose("nunpy")
    assert get_backend() is before


def test_an_unknown_device_is_refused_with_those_there_are(backend):
    with pytest.raises(_errors.ArgumentError, match=backend.devices()[0]):
        set_backend(backend.name, device="abacus")
    with use_backend(backend.name, device=backend.devices()[0]):
        assert owner_of(losses.mean_squared_error([1.0], [2.0])) is backend


def test_a_foreign_object_is_refused(backend, tensor):
    with pytest.raises(_errors.UnknownTensorError, match="object") as caught:
        losses.mean_squared_error(tensor([1.0]), object())
    assert "Expected" in str(caught.value)


def test_what_a_framework_has_besides_tensors_is_refused(backend, tensor):
    things = {"numpy": lambda np: np.random.default_rng(), "torch": lambda torch: torch.nn.Linear(1, 1)}
    make = things.get(backend.name, lambda jax: jax.ShapeDtypeStruct((1,), "float32"))
    thing = make(importlib.import_module(backend.name))
    for given in (tensor([1.0]), [1.0]):
        with pytest.raises(_errors.UnknownTensorError, match=type(thing).__name__):
            losses.mean_squared_error(given, thing)


@pytest.mark.skipif(len(BACKENDS) < 3, reason="needs two frameworks in one process")
def test_two_frameworks_in_one_call_are_refused():
    torch, jax = (make_tensor(load_backend(name), [1.0, 2.0]) for name in ("torch", "jax"))
    for given in ((torch, jax), (jax, torch)):
        with pytest.raises(_errors.MixedBackendsError) as caught:
            losses.mean_squared_error(*given)
        for word in ("torch", "jax", "Expected", "Convert"):
            assert word in str(caught.value)
        with pytest.raises(_errors.MixedBackendsError):
            losses.MeanSquaredError()(given[0], given[0], given[1])


def run(program: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() or ran.stderr.strip().rpartition("\n")[2]


def test_the_environment_chooses_the_backend(backend):
    program = "import multiloss; print(multiloss.get_backend().name)"
    assert run(program, MULTILOSS_BACKEND=backend.name) == backend.name
    assert "nonsense" in run(program, MULTILOSS_BACKEND="nonsense")
    assert "abacus" in run(program, MULTILOSS_BACKEND=backend.name, MULTILOSS_DEVICE="abacus")


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_backend_that_is_not_installed_says_which_extra_installs_it(name):
    program = (
        f"import sys; sys.modules[{name!r}] = None\n"  # makes `import` fail, as if it were not there
        f"import multiloss\n"
        f"multiloss.set_backend({name!r})"
    )
    message = run(program)
    assert "BackendNotFoundError" in message
    assert f"pip install 'multiloss[{name}]'" in message


def test_available_backends_lists_what_is_installed():
    assert set(BACKENDS) <= set(available_backends())
