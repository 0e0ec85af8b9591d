"""Classes that are split over processes: three of them, on this machine, with shards of unlike size."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.backends("torch")

PROCESSES, ROWS, CLASSES, HIDDEN = 3, 13, 29, 5
SHARDS = (slice(0, 12), slice(12, 14), slice(14, CLASSES))
OPTIONS: list[dict[str, Any]] = [{}, {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 2.0}]


def example(soft: bool) -> dict[str, Any]:
    """Return the same tensors in every process."""
    made = torch.Generator().manual_seed(3)
    target = torch.randint(0, CLASSES, (ROWS,), generator=made)
    if soft:
        target = torch.softmax(torch.randn((ROWS, CLASSES), generator=made), -1)
    row_weight = torch.rand(ROWS, generator=made) + 0.5
    row_weight[2] = 0.0
    hidden = torch.randn((ROWS, HIDDEN), generator=made)
    hidden[::3] *= 5.0
    return {
        "target": target,
        "hidden": hidden,
        "weight": torch.randn((CLASSES, HIDDEN), generator=made),
        "bias": torch.randn(CLASSES, generator=made),
        "row_weight": row_weight,
        "class_weight": torch.rand(CLASSES, generator=made),
    }


def check_shards(group: Any, here: slice) -> None:
    """Compare this process's values and gradients with those of all classes at once."""
    from multiloss_torch import backend

    for soft, total, options in ((s, t, o) for s in (False, True) for t in (False, True) for o in OPTIONS):
        given = example(soft)
        options = {**options, "class_weight": given["class_weight"]} if soft else options
        whole = [given[name].requires_grad_() for name in ("hidden", "weight", "bias")]
        expected = backend.linear_crossentropy(given["target"], *whole, given["row_weight"], total, **options)
        upstream = torch.linspace(0.5, 1.0, 1 if total else ROWS).reshape(expected.shape)
        slopes = torch.autograd.grad(expected, whole, upstream)
        for memory in (None, 4 * 4 * CLASSES):
            parts = [each.detach().clone() for each in (whole[0], whole[1][here], whole[2][here])]
            for each in parts:
                each.requires_grad_()
            found = backend.linear_crossentropy(
                given["target"], *parts, given["row_weight"], total, memory_budget=memory, group=group, **options
            )
            torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-6)
            ours = torch.autograd.grad(found, parts, upstream)
            for one, other in zip(ours, (slopes[0], slopes[1][here], slopes[2][here]), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
            with torch.no_grad():
                plain = backend.linear_crossentropy(
                    given["target"], *parts, given["row_weight"], total, group=group, **options
                )
            torch.testing.assert_close(plain, expected, rtol=2e-6, atol=1e-6)


def check_uneven_shards(rank: int, group: Any) -> None:
    check_shards(group, SHARDS[rank])


def check_a_process_without_classes(rank: int, group: Any) -> None:
    check_shards(group, (slice(0, 20), slice(20, 20), slice(20, CLASSES))[rank])


def check_one_collective_for_each_chunk(rank: int, group: Any) -> None:
    import torch.distributed as dist

    from multiloss_torch import backend

    calls = []
    gather, reduce = dist.all_gather_into_tensor, dist.all_reduce
    dist.all_gather_into_tensor = lambda *a, **k: (calls.append("gather"), gather(*a, **k))[1]
    dist.all_reduce = lambda *a, **k: (calls.append("reduce"), reduce(*a, **k))[1]
    given = example(False)
    here = SHARDS[rank]
    hidden = given["hidden"].requires_grad_()
    weight = given["weight"][here].requires_grad_()
    value = backend.linear_crossentropy(
        given["target"], hidden, weight, None, None, True, memory_budget=5 * 4 * 15, group=group
    )
    value.backward()
    dist.all_gather_into_tensor, dist.all_reduce = gather, reduce
    assert calls == ["gather"] + ["gather"] * 3 + ["reduce"], calls  # the sizes, three chunks, the hidden states


def check_half_precision(rank: int, group: Any) -> None:
    from multiloss_torch import backend

    given = example(False)
    here = SHARDS[rank]
    hidden, weight = (given[name].bfloat16().requires_grad_() for name in ("hidden", "weight"))
    expected = backend.linear_crossentropy(given["target"], hidden, weight, None, 1 / ROWS, True)
    slopes = torch.autograd.grad(expected, (hidden, weight))
    part = weight.detach()[here].clone().requires_grad_()
    found = backend.linear_crossentropy(given["target"], hidden, part, None, 1 / ROWS, True, group=group)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
    ours = torch.autograd.grad(found, (hidden, part))
    for one, other in zip(ours, (slopes[0], slopes[1][here]), strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other, rtol=3e-2, atol=1e-3)


def check_half_precision_is_rounded_after_the_sum(rank: int, group: Any) -> None:
    from multiloss_torch._parallel import split

    given = torch.full((PROCESSES,), 2.0**-8, dtype=torch.bfloat16)  # half of what can be added to 1
    given[rank] = 1.0
    total = split(torch.zeros((1, HIDDEN), dtype=torch.bfloat16), None, group).shard.add_up(given)
    assert total.dtype == torch.bfloat16
    assert total.tolist() == [1.0 + 2.0**-7] * PROCESSES
    assert given[rank] == 1.0


def check_a_weight_that_is_a_view(rank: int, group: Any) -> None:
    from multiloss_torch import backend

    given = example(False)
    whole = torch.zeros((HIDDEN, 2 * CLASSES))  # turned, with every other column
    whole[:, ::2] = given["weight"].t()
    expected = backend.linear_crossentropy(given["target"], given["hidden"], given["weight"], given["bias"])
    part, bias = whole.t()[::2][SHARDS[rank]], torch.stack([given["bias"]] * 2, 1)[:, 0][SHARDS[rank]]
    assert not part.is_contiguous()
    found = backend.linear_crossentropy(given["target"], given["hidden"], part, bias, group=group)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def check_distributed_tensors(rank: int, group: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    from multiloss_torch import backend

    mesh = init_device_mesh("cpu", (PROCESSES,))
    given = example(False)
    whole = [given[name].requires_grad_() for name in ("hidden", "weight", "bias")]
    expected = backend.linear_crossentropy(given["target"], *whole, given["row_weight"], True, label_smoothing=0.1)
    slopes = torch.autograd.grad(expected, whole)
    placements = ([Replicate()], [Shard(0)], [Shard(0)])
    for as_it_is in (False, True):
        split = [
            distribute_tensor(each.detach(), mesh, place).requires_grad_()
            for each, place in zip(whole, placements, strict=True)
        ]
        if as_it_is:
            split[0] = whole[0].detach().clone().requires_grad_()
        found = backend.linear_crossentropy(given["target"], *split, given["row_weight"], True, label_smoothing=0.1)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        found.backward()
        for one, other in zip(split, slopes, strict=True):
            gradient = one.grad if type(one.grad) is torch.Tensor else one.grad.full_tensor()
            torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


def check_distributed_logits(rank: int, group: Any) -> None:
    from multiloss.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (PROCESSES,))
    labels, shares = example(False)["target"], example(True)["target"]
    made = torch.Generator().manual_seed(5)
    logits = torch.randn((ROWS, CLASSES), generator=made).requires_grad_()
    weight = torch.rand(ROWS, generator=made) * (torch.arange(ROWS) % 4 > 0)
    numbers = torch.rand(CLASSES, generator=made).tolist()
    options: list[dict[str, Any]] = [{}, {"class_weight": numbers, "ignore_class": 3}, {"label_smoothing": 0.1}]
    for option in options:
        for kind, target in ((SparseCategoricalCrossentropy, labels), (CategoricalCrossentropy, shares)):
            for reduction in ("none", "mean_with_sample_weight"):
                loss = kind(from_logits=True, reduction=reduction, **option)
                expected = loss(target, logits, sample_weight=weight)
                (slope,) = torch.autograd.grad(expected.sum(), logits)
                for placement in (Replicate(), Shard(0), Shard(1)):
                    split = distribute_tensor(logits.detach(), mesh, [placement]).requires_grad_()
                    given = distribute_tensor(target, mesh, [Shard(0)])
                    weights = distribute_tensor(weight, mesh, [Replicate()])
                    found: Any = loss(given, split, sample_weight=weights)
                    (ours,) = torch.autograd.grad(found.sum(), split)
                    torch.testing.assert_close(found.full_tensor(), expected, rtol=1e-5, atol=1e-7)
                    torch.testing.assert_close(ours.full_tensor(), slope, rtol=1e-5, atol=1e-7)


def check_what_is_refused(rank: int, group: Any) -> None:
    from multiloss._errors import ArgumentError, NotSupportedError
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor
    from torch.distributed.tensor.placement_types import _StridedShard

    from multiloss_torch import backend

    given = example(False)
    hidden, weight = given["hidden"].requires_grad_(), given["weight"]
    target = given["target"]
    with pytest.raises(ArgumentError, match="ProcessGroup"):
        backend.linear_crossentropy(target, hidden, weight, group="model")
    with pytest.raises(NotSupportedError, match=r"torch\.func"):
        torch.func.grad(lambda x: backend.linear_crossentropy(target, x, weight, None, None, True, group=group))(hidden)
    with pytest.raises(NotSupportedError, match="Detach"):
        backend.linear_crossentropy(
            target, hidden, weight, class_weight=given["class_weight"].requires_grad_(), group=group
        )
    value = backend.linear_crossentropy(target % 2, hidden, weight, None, None, True, group=group)
    (slope,) = torch.autograd.grad(value, hidden, create_graph=True)
    with pytest.raises(NotSupportedError, match="Second derivatives"):
        slope.sum().backward()
    mesh = init_device_mesh("cpu", (PROCESSES,))
    columns = distribute_tensor(weight, mesh, [Shard(1)])
    with pytest.raises(ArgumentError, match=r"Shard\(0\)"):
        backend.linear_crossentropy(target, hidden, columns)
    strided = DTensor.from_local(weight[SHARDS[rank]], mesh, [_StridedShard(0, split_factor=2)], run_check=False)
    with pytest.raises(ArgumentError, match=r"Shard\(0\)"):
        backend.linear_crossentropy(target, hidden, strided)
    rows = distribute_tensor(weight, mesh, [Shard(0)])
    with pytest.raises(ArgumentError, match="bias"):
        backend.linear_crossentropy(target, hidden, rows, given["bias"])
    turned = DeviceMesh("cpu", [1, 2, 0])
    with pytest.raises(ArgumentError, match="bias"):
        backend.linear_crossentropy(target, hidden, rows, distribute_tensor(given["bias"], turned, [Shard(0)]))
    with pytest.raises(ArgumentError, match="group=None"):
        backend.linear_crossentropy(target, hidden, rows, group=group)


CHECKS = (
    check_uneven_shards,
    check_a_process_without_classes,
    check_one_collective_for_each_chunk,
    check_half_precision,
    check_half_precision_is_rounded_after_the_sum,
    check_a_weight_that_is_a_view,
    check_distributed_tensors,
    check_distributed_logits,
    check_what_is_refused,
)


def work(rank: int, store: str, outcomes: Any) -> None:
    """Run the checks in one of the processes, up to one that fails."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=PROCESSES)
    for check in CHECKS:
        try:
            check(rank, torch.distributed.group.WORLD)
            torch.distributed.barrier()  # nobody leaves while another one still reads
        except BaseException:
            outcomes.put((rank, check.__name__, traceback.format_exc()))
            return
        outcomes.put((rank, check.__name__, "passed"))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], str]:
    """What became of each check in each process. To start them takes longer than to run them, so it is done once."""
    start = multiprocessing.get_context("spawn")
    found: Any = start.SimpleQueue()
    store = str(tmp_path_factory.mktemp("processes") / "store")
    processes = [start.Process(target=work, args=(rank, store, found)) for rank in range(PROCESSES)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(240)
        each.kill()
    results = {}
    while not found.empty():
        rank, name, outcome = found.get()
        results[rank, name] = outcome
    return results


@pytest.mark.parametrize("name", [check.__name__ for check in CHECKS])
def test_split_classes(name: str, outcomes: dict[tuple[int, str], str]) -> None:
    for rank in range(PROCESSES):
        outcome = outcomes.get((rank, name), "not reached: another check or process failed, or one waited in vain")
        assert outcome == "passed", f"process {rank}: {outcome}"
