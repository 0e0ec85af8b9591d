"""What is checked, session by session. `nox` runs the default ones, `nox -l` lists all, `nox -s NAME` runs one.

Each backend is tested alone in its virtual environment: a stray import of another framework fails there.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.sessions = [
    "lint",
    "typing",
    "tests",
    "pythons",
    "minimums",
    "plugin",
    "parity",
    "keras",
    "hosts",
    "boosting",
    "sklearn",
    "build",
]
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
TEST_GROUP = nox.project.dependency_groups(PYPROJECT, "test")
LINT_GROUP = nox.project.dependency_groups(PYPROJECT, "lint")
BACKENDS = ["numpy", "torch", "jax"]
# What trains models of a framework, and what to install for it.
HOSTS = {
    "torch": {"lightning": ["lightning"], "huggingface": ["transformers", "accelerate"]},
    "jax": {"jax": ["optax", "flax", "equinox"]},
}
# One thread per worker: the machine's cores are busy with pytest-xdist's workers.
ENV = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def offer_pyenv_versions() -> None:
    """Let `python3.12` and the like be found where pyenv has them: its commands exist but refuse to run otherwise."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if versions.is_dir() and "PYENV_VERSION" not in os.environ:
        others = [path.name for path in versions.iterdir() if path.name.startswith(("3.12.", "3.13."))]
        os.environ["PYENV_VERSION"] = ":".join([platform.python_version(), *sorted(others)])


offer_pyenv_versions()


def install(session: nox.Session, *packages: str) -> None:
    """Install with the pinned versions of the frameworks. Python compiles what is imported, a small part, when it is."""
    session.install("--no-compile", "-c", "constraints.txt", *packages)


def install_project(session: nox.Session, backend: str, *extras: str) -> None:
    """Install the project, editable, with one framework and the command's libraries."""
    if backend != "numpy":
        install(session, backend)  # first and by itself: nothing else may choose its build
    names = ",".join([*([] if backend == "numpy" else [backend]), *extras])
    install(session, "-e", f".[{names}]" if names else ".")


def run_pytest(session: nox.Session, backends: str, *args: str) -> None:
    """Run the tests on the backends given, and fail if one of them is missing."""
    # JAX compiles each operation for each shape: no time is spent on optimizing what runs once (tests/quick_jax.py). But
    # parity and hosts run what users run. A cache on disk would save more, but workers read what others half wrote.
    quickly = {"jax": "all", ",".join(BACKENDS): "exact"}
    env = ENV | {"MULTILOSS_TEST_BACKENDS": backends, "MULTILOSS_QUICK_COMPILES": quickly.get(backends, "")}
    # Work is stolen and not dealt out: tests next to each other share shapes, so one worker compiles for them.
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *args, *session.posargs, env=env)


@nox.session
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests with one backend and no other framework installed."""
    install_project(session, backend, "cli")
    install(session, *TEST_GROUP)
    run_pytest(session, backend)
    if backend == "torch" and not session.posargs:  # torch is a host itself
        session.run("pytest", "tests/integrations/torch", "multiloss/integrations/torch.py", env=ENV)
        session.run("python", "examples/train_torch.py", env=ENV)
    if backend != "numpy" and not session.posargs:
        session.run("python", "examples/language_model.py", "--backend", backend, "--steps", "5")
    if backend == "torch" and not session.posargs and platform.system() == "Linux":
        install(session, "triton")  # which builds of torch for CUDA bring along; the kernel runs in its interpreter
        interpreted = ENV | {"MULTILOSS_TEST_BACKENDS": backend, "TRITON_INTERPRET": "1"}
        session.run("pytest", "-n", "auto", "tests/crossentropy/triton_checks.py", env=interpreted)


@nox.session
@nox.parametrize(("python", "backend"), [("3.12", "numpy"), ("3.13", "jax")])
def pythons(session: nox.Session, backend: str) -> None:
    """Run the tests on later versions of Python, where they are installed: all on NumPy, those of K and losses on JAX."""
    install_project(session, backend, "cli")
    install(session, *TEST_GROUP)
    run_pytest(session, backend, *([] if backend == "numpy" else ["tests/test_conformance.py", "tests/losses"]))


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest NumPy and autograd that pyproject.toml allows."""
    lowest = [requirement.replace(">=", "==") for requirement in PYPROJECT["project"]["dependencies"]]
    session.install("-e", ".", *lowest)
    session.install(*TEST_GROUP, *lowest)
    run_pytest(session, "numpy", "--ignore=tests/cli", "--ignore=multiloss/cli")


@nox.session
def plugin(session: nox.Session) -> None:
    """Install a third-party backend from its own distribution; run the conformance suite and the contract on it."""
    install_project(session, "numpy")
    install(session, *TEST_GROUP)
    session.install("./tests/plugin")
    settings = ("-c", "tests/plugin/pyproject.toml", "--rootdir", "tests/plugin")
    session.run("pytest", *settings, "tests/plugin/tests", *session.posargs, env=ENV)
    run_pytest(session, "array_api_strict", "tests/contract")


@nox.session
def parity(session: nox.Session) -> None:
    """Compare with Keras on its three backends, torch, optax, scikit-learn and torchmetrics; and the backends with each other.

    Here all three are installed, so that calls of all can meet in one process: threads, tasks, tensors side by side.
    What the comparisons measure is written to docs/parity.md; the session fails if the tables there were stale.
    """
    for backend in BACKENDS:
        install_project(session, backend)
    install(session, *TEST_GROUP, "keras", "optax", "scikit-learn", "torchmetrics", "mpmath", "filelock")
    run_pytest(
        session,
        ",".join(BACKENDS),
        "tests/test_registry.py",
        "tests/contract/test_dispatch.py",
        "tests/metrics/test_shell.py",
        "tests/contract/test_exact_values.py",  # to the last digits, of JAX's programs as they are compiled for users
    )
    # A part of the tests, chosen by arguments, measures a part of the differences: no page is written then.
    page = [] if session.posargs else ["--write-certificates", "docs/parity.md"]
    run_pytest(session, ",".join(BACKENDS), "tests/parity", *page)


@nox.session
@nox.parametrize("backend", BACKENDS)
def keras(session: nox.Session, backend: str) -> None:
    """Train, evaluate and save models of Keras with losses and metrics of multiloss, on each backend of Keras."""
    install_project(session, backend)
    # Keras' NumPy backend imports jax and scipy, and does not ask for them.
    install(session, *TEST_GROUP, "keras", *(["jax", "scipy"] if backend == "numpy" else []))
    session.run(
        "pytest",
        "tests/integrations/keras",
        "multiloss/integrations/keras.py",
        "multiloss/integrations/_keras_layers.py",
        "multiloss/integrations/_keras_inputs.py",
        *session.posargs,
        env=ENV | {"KERAS_BACKEND": backend, "MULTILOSS_TEST_BACKENDS": backend},
    )
    if backend != "numpy":  # on which Keras cannot train
        install(session, "scikit-learn")
        session.run("python", "examples/train_keras.py", env=ENV | {"KERAS_BACKEND": backend})


@nox.session
def sklearn(session: nox.Session) -> None:
    """Compare with scikit-learn's functions and scorers, inside its model selection, with no other host installed."""
    install_project(session, "numpy", "sklearn")
    install(session, *TEST_GROUP)
    session.run(
        "pytest",
        "tests/integrations/sklearn",
        "multiloss/integrations/sklearn",
        *session.posargs,
        env=ENV | {"MULTILOSS_TEST_BACKENDS": "numpy", "OPENBLAS_NUM_THREADS": "1"},
    )
    session.run("python", "examples/sklearn_scoring.py", env=ENV)


@nox.session
@nox.parametrize("backend", [*HOSTS])
def hosts(session: nox.Session, backend: str) -> None:
    """Train inside the libraries that train models of a framework, and run their examples; one is installed at a time."""
    install_project(session, backend)
    install(session, *TEST_GROUP, "scikit-learn")
    env = ENV | {"MULTILOSS_TEST_BACKENDS": backend}
    for host, packages in HOSTS[backend].items():
        install(session, *packages)
        adapter = Path("multiloss/integrations") / f"{host}.py"
        modules = [str(adapter)] if adapter.exists() else []
        session.run("pytest", f"tests/integrations/{host}", *modules, *session.posargs, env=env)
        session.run("python", f"examples/train_{host}.py", env=env)
        session.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", *packages)


# xgboost-cpu is XGBoost without the libraries for GPUs, which are many times its size.
BOOSTERS = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm", "catboost": "catboost"}


@nox.session
@nox.parametrize("host", [*BOOSTERS])
def boosting(session: nox.Session, host: str) -> None:
    """Train one library of gradient boosting with losses of multiloss, and compare with its own objectives."""
    install_project(session, "numpy")
    install(session, *TEST_GROUP, BOOSTERS[host], "scikit-learn")
    session.run(
        "pytest", f"tests/integrations/{host}", *session.posargs, env=ENV | {"MULTILOSS_TEST_BACKENDS": "numpy"}
    )
    session.run("python", f"examples/train_{host}.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and the import contracts."""
    install_project(session, "numpy")
    install(session, *LINT_GROUP)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types, strictly, with every framework installed."""
    for backend in BACKENDS:
        install_project(session, backend, "cli")
    install(session, *TEST_GROUP, "mypy==2.*", "nox")
    session.run("mypy")


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and sdist, install the wheel alone, and use it outside the repository."""
    install(session, "build")
    target = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--outdir", str(target))
    wheel = max(target.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", str(wheel))
    with session.chdir(target):
        session.run(
            "python", "-c", "import multiloss; print(multiloss.losses.MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]]))"
        )


# What the losses and metrics are measured beside, and what draws the plot.
PEERS = ["keras", "optax", "scikit-learn", "torchmetrics", BOOSTERS["xgboost"], BOOSTERS["lightgbm"], "matplotlib"]


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those named (`nox -s bench -- losses metrics`), and print the summary of all results."""
    for backend in BACKENDS:
        install_project(session, backend)
    install(session, *PEERS)
    for name in session.posargs or sorted(path.stem[6:] for path in Path("benchmarks").glob("bench_*.py")):
        session.run("python", f"benchmarks/bench_{name}.py")
    session.run("python", "benchmarks/summary.py")
