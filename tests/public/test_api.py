"""What users may rely on: the names of the package, and programs that use them."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ttc_fast
from test_packaging import python

HERE = Path(__file__).parent

NAMES = """
    AttentionState AttentionTransformer Backend BernoulliSampling Candidates DecisionTree DecodeOutput Draws
    ElementwiseNoise EncodedRule Expected GaussianNoise GeometricDecay Heads HeavyTailedRegression HeldOutLoss
    InContextLoss Key LAWS LargestCoefficients LinearAttention LinearRegression LinearState LinearTransformer
    LogisticDescent LogisticRegression Model NoisyVerifier Oracle Parity ParityAttention Plan PlanConfig
    PowerLawDecay Problem ProcessReward Prompts RandomStart RankOneNoise Rule RunConfig RunResult Schedule
    SearchResult ShiftedRegression SmallestNorm StochasticDecoder SubsetSampling SweepTable TECHNIQUES Table Task
    TaskPrompts Technique TrainConfig Trained Transformer TwoLayerNetwork Verifier WrongVerifier __version__
    adaptive_vote analyze backends beam_search best_of_k compare_logs decode evaluate fit law load load_model
    load_prompts majority_at_k mean_of_k merge overlay particle_filter pass_at_k plan plot read rejection_search run
    save_model self_refinement stop_early sweep train weighted_vote_at_k
"""
PROGRAMS = {
    "custom_parts": "('last_sample', 1, 64): ",
    "notebook": "standard errors from theory at most",
    "dataframe": "'metric', 'prompt', 'value', 'theory', 'thoughts', 'scores']",
    "figure": "",
    "shards": "Table(92 figures of 64 prompts; coefficients: continuous;",
}
"""Program -> some of what it prints."""


def test_names() -> None:
    assert sorted(ttc_fast.__all__) == NAMES.split()


def test_every_name_says_what_it_is() -> None:
    for name in NAMES.split():
        thing = getattr(ttc_fast, name)
        assert not inspect.ismodule(thing), name
        if callable(thing):
            assert thing.__doc__, name
            assert not thing.__doc__.startswith(f"{name}("), f"{name} has the docstring that dataclass makes"


def test_type_checkers_see_every_name() -> None:
    """Beside the names that are loaded on first use."""
    tree = ast.parse(Path(ttc_fast.__file__).read_text())
    seen = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(NAMES.split()) - {"__version__"} <= seen


def test_run_is_the_function() -> None:
    """Though there is a module of that name, for ``python -m``."""
    code = """
        import ttc_fast as tf
        from ttc_fast import run
        try:
            import ttc_fast.run
        except ImportError as error:
            print(error)
        print(tf.run is run, run.__module__)
    """
    assert python(textwrap.dedent(code)).splitlines() == [
        "ttc_fast.run is the entry of `python -m ttc_fast.run`; the function: from ttc_fast import run",
        "True ttc_fast.experiments.run",
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, tmp_path: Path) -> None:
    """At most 25 lines, blank ones aside; it runs without a warning."""
    path = HERE / f"{name}.py"
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("# mypy")]
    assert len(lines) <= 25
    if name in ("dataframe", "figure"):
        pytest.importorskip({"dataframe": "pandas", "figure": "matplotlib"}[name])
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert PROGRAMS[name] in done.stdout
    if name == "notebook":
        assert "continuous: 100 %" in done.stderr
    else:
        assert done.stderr == ""
    if name == "custom_parts":
        scores = [float(z) for z in re.findall(r": (-?[\d.]+)", done.stdout)]
        assert len(scores) == 7
        assert max(map(abs, scores)) < 4
    assert [file.name for file in tmp_path.iterdir()] == (["error.png"] if name == "figure" else [])


def test_every_program_is_run() -> None:
    assert {path.stem for path in HERE.glob("*.py")} == {*PROGRAMS, "test_api"}


def test_names_that_others_rely_on(tmp_path: Path) -> None:
    """The block of the issue that made this interface, with the parts that it leaves to the reader."""
    code = """
        import ttc_fast as tf

        def my_technique(candidates):
            return candidates.coefficients[:, :, 0]

        class MyVerifier:
            def score(self, prompts, w, *, first_sample=0, step=0):
                return -w.square().sum(2)

        my_verifier = MyVerifier()

        prompts = tf.LinearRegression(16, 64, label_noise=0.1).sample(64, seed=0)
        decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(16, examples=64), tf.GaussianNoise(0.2))
        table = tf.evaluate(decoder, prompts, steps=[2, 8], samples=64, budgets=[1, 8, 64],
                            techniques=["mean", my_technique], verifier=my_verifier, seed=0, progress=True)
        columns = table.to_pandas().columns.tolist()
        assert columns == ["coefficients", "technique", "steps", "samples", "metric", "prompt", "value"]
        table.save("part-0.parquet"); part_0 = tf.Table.load("part-0.parquet")
        others = tf.LinearRegression(16, 64, label_noise=0.1).sample(64, seed=0, first_prompt=64)
        part_1 = tf.evaluate(decoder, others, steps=[2, 8], samples=64, budgets=[1, 8, 64],
                             techniques=["mean", my_technique], verifier=my_verifier)
        assert len(tf.Table.concat([part_0, part_1]).prompts) == 128
        with_theory = tf.overlay(decoder, prompts, table); tf.plot(table, x="samples", ax=None)
        assert isinstance(with_theory, tf.Table) and len(with_theory.theory_checks()) == 12
        result = tf.run(tf.RunConfig(samples=256)); result.table
        print(sorted({key.technique for key in result.table.keys}))
    """
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    assert python(textwrap.dedent(code), tmp_path) == (
        "['best_of_n', 'greedy', 'majority_vote', 'mean', 'oracle_best_of_n', 'single']"
    )
