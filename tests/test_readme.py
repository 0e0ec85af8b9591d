"""The README's examples run as they stand, and what their comments promise is printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1].joinpath("README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMAND = re.compile(r"python3 -m venv .*")


def example(first_line: str) -> str:
    (found,) = [each for each in EXAMPLES if each.startswith(first_line)]
    return found


def run(source: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    return capsys.readouterr().out.split()


def test_the_numpy_example_prints_its_comments(capsys):
    source = example("import numpy")

    printed = run(source, capsys)

    promised = re.findall(r"print\(.*\)  # ([\d.]+)", source)
    assert len(promised) == 2
    assert [float(each) for each in printed] == pytest.approx([float(each) for each in promised])


@pytest.mark.backends("torch")
@pytest.mark.parametrize("source", [each for each in EXAMPLES if each.startswith("import torch")])
def test_a_torch_example_runs(source, backend, capsys):
    assert run(source, capsys) == []


@pytest.mark.backends("jax")
def test_the_jax_example_runs(backend, capsys):
    assert run(example("import jax"), capsys) == []


def test_a_loss_of_the_users_own_runs_on_every_backend(backend, tensor, host):
    scope: dict[str, object] = {}
    exec(compile(example("from multiloss import backend as K"), "README.md", "exec"), scope)

    assert host(scope["loss_fn"](tensor([[0.0, 0.0]]), tensor([[1.0, 2.0]]))) == 8.5


def test_the_example_of_a_sum_prints_its_comments(capsys):
    first, second = run(example("from multiloss import backend as K") + example("class Distillation"), capsys)[0:2]

    (promised,) = re.findall(r"step=700\)\)  # ([\d.]+)", README)
    assert float(first) == pytest.approx(float(promised))
    assert second == "dict_keys(['loss',"


def test_ci_runs_the_test_command_of_the_readme():
    commands = COMMAND.findall(README)
    script = Path(__file__).parents[1].joinpath(".ci", "run").read_text()

    assert commands[-1].endswith("nox")
    assert commands[-1] in script


def test_the_table_of_hosts_links_every_example():
    linked = re.findall(r"\]\(examples/(\w+\.py)\)", README)
    assert sorted(linked) == sorted(each.name for each in Path(__file__).parents[1].glob("examples/*.py"))
