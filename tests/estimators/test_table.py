"""The table: what is saved, put together and shown is what was measured, to the bit."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from scipy import stats

from ttc_fast import (
    TECHNIQUES,
    BernoulliSampling,
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    StochasticDecoder,
    Table,
    evaluate,
    overlay,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators import table_file
from ttc_fast.estimators.intervals import summarize
from ttc_fast.estimators.table import OPTIONAL

ARRAYS = ("values", "theory", "theory_variance", "theory_scale", "thoughts", "scores", "repeats")


def assert_equal(got: Table, expected: Table) -> None:
    """To the bit, NaN and the sign of zero included."""
    assert got.keys == expected.keys
    assert got.about == expected.about
    assert np.array_equal(got.prompts, expected.prompts)
    for name in ARRAYS:
        one, two = getattr(got, name), getattr(expected, name)
        assert (one is None) == (two is None), name
        if one is not None:
            assert one.dtype == np.float64
            assert one.tobytes() == two.tobytes(), name


def key(technique: str = "mean", samples: int = 4, metric: str = "hamming") -> Key:
    return Key("binary", technique, 2, samples, metric)


def table(**given: Any) -> Table:
    """Three figures of two prompts; with work, and a law of the first one."""
    made: dict[str, Any] = {
        "keys": (key(), key(samples=1), key("best_of_n")),
        "prompts": np.array([3, 5]),
        "values": np.array([[0.25, 0.5], [0.75, 1.0], [0.1, math.pi]]),
        "theory": np.array([[0.2, 0.4], [math.nan, math.nan], [math.nan, math.nan]]),
        "thoughts": np.full((3, 2), 8.0),
        "scores": np.arange(6.0).reshape(3, 2),
        "about": {"seed": "0"},
    }
    return Table(**{**made, **given})


def measured(rule: Rule, count: int, first: int = 0, **arguments: Any) -> Table:
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(count, seed=2, first_prompt=first)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), rule)
    return evaluate(decoder, prompts, steps=[1, 3], samples=8, seed=4, techniques=TECHNIQUES, **arguments)


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_parts_make_the_whole(rule: Rule, tmp_path: Path) -> None:
    """Four parts of 64 prompts, each made alone, saved, read and put together in any order: the whole, to the bit."""
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(64, seed=2, first_prompt=100)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), rule)
    arguments: dict[str, Any] = {"steps": [1, 3], "samples": 8, "seed": 4, "techniques": TECHNIQUES}
    whole = evaluate(decoder, prompts, **arguments)
    assert whole.prompts.tolist() == list(range(100, 164))
    for i, (start, stop) in enumerate(((0, 16), (16, 17), (17, 40), (40, 64))):
        evaluate(decoder, prompts.part(start, stop), **arguments).save(tmp_path / f"{i}.parquet")
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        parts = [Table.load(tmp_path / f"{i}.parquet") for i in order]
        assert_equal(Table.concat(parts), whole)
    nested = Table.concat([Table.concat([parts[3], parts[1]]), Table.concat(iter([parts[0], parts[2]]))])
    assert_equal(nested, whole)


def test_parts_may_lie_between_each_other_and_name_their_keys_in_any_order() -> None:
    one = table()
    other = replace(one._rows([2, 0, 1]), prompts=np.array([1, 4]))
    joined = Table.concat([one, other])
    assert joined.prompts.tolist() == [1, 3, 4, 5]
    assert set(joined.keys) == set(one.keys)
    for name in one.keys:
        (a, b), (c, d) = one[name], other[name]
        assert joined[name].tolist() == [c, a, d, b]
    assert_equal(Table.concat([other, one]), joined)
    assert_equal(Table.concat([one]), one)
    bare = Table.concat([one, replace(other, theory=None)])
    assert bare.theory is None
    assert bare.scores is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": np.array([5, 9])}, "tables: expected each prompt in one part, got one in two of them"),
        ({"keys": (key(), key(samples=1), key("median"))}, "tables: expected the same keys in all parts, got Key("),
        ({"about": {"seed": "1"}}, "tables: expected the same facts, got {'seed': '0'} and {'seed': '1'}"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Table.concat([table(), replace(table(prompts=np.array([7, 8])), **change)])
    with pytest.raises(ValueError, match="tables: expected at least one, got none"):
        Table.concat([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": (key(), key(), key("best_of_n"))}, "keys: expected each once, got Key(coefficients='binary'"),
        ({"prompts": np.array([3, 3])}, "prompts: expected ascending indices, each once"),
        ({"prompts": np.array([5, 3])}, "prompts: expected ascending indices, each once"),
        ({"prompts": np.array([1, 3, 5])}, "values: expected shape [keys, prompts] [3, 3], got [3, 2]"),
        ({"keys": (key(),)}, "values: expected shape [keys, prompts] [1, 2], got [3, 2]"),
        ({"scores": np.zeros((2, 3))}, "scores: expected shape [keys, prompts] [3, 2], got [2, 3]"),
    ],
)
def test_tables_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        table(**change)


def odd_values() -> Table:
    values = np.array([[0.1, -0.0], [math.inf, -math.inf], [5e-324, 1.7976931348623157e308]])
    return table(values=values, about={"rule": 'a "rule"', "ä": "ß\n"})


@pytest.mark.parametrize("made", [table(), table(theory=None, thoughts=None), odd_values()])
def test_what_is_loaded_is_what_was_saved(made: Table, tmp_path: Path) -> None:
    for path in (tmp_path / "t.parquet", str(tmp_path / "u.parquet")):
        made.save(path)
        made.save(path)  # again, over itself
        assert_equal(Table.load(path), made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.parquet", "u.parquet"]  # no drafts


def test_files_are_read_into_memory_of_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of Python, which Arrow's threads would free after the interpreter: 1 of 12 processes aborted at their end."""
    opened, real = [], parquet.ParquetFile

    def watched(file: Any) -> Any:
        opened.append(file)
        return real(file)

    monkeypatch.setattr(parquet, "ParquetFile", watched)
    path = tmp_path / "t.parquet"
    table().save(path)
    Table.load(path)
    data = path.read_bytes()
    table_file.parsed(data, "t", Key._fields, OPTIONAL)
    assert [type(file) for file in opened] == [pyarrow.OSFile, pyarrow.BufferReader]
    start, end = id(data), id(data) + sys.getsizeof(data)
    assert not start <= opened[1].read_buffer().address < end


@pytest.mark.parametrize("rule", [GaussianNoise(0.3), BernoulliSampling()])
def test_a_measured_table_with_its_laws_is_saved(rule: Rule, tmp_path: Path) -> None:
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(3, 8, kind, label_noise=0.2).sample(3, seed=2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), rule)
    made = overlay(decoder, prompts, evaluate(decoder, prompts, steps=[1, 3], samples=8))
    assert made.theory is not None
    made.save(tmp_path / "t.parquet")
    assert_equal(Table.load(tmp_path / "t.parquet"), made)
    assert Table.load(tmp_path / "t.parquet").records() == made.records()


def test_others_can_read_the_file(tmp_path: Path) -> None:
    """By any reader of Parquet: a row for each figure and prompt."""
    made = table()
    made.save(tmp_path / "t.parquet")
    rows = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert len(rows) == 6
    assert rows[1] == {
        **key()._asdict(), "prompt": 5, "value": 0.5, "theory": 0.4, "thoughts": 8.0, "scores": 1.0,
    }  # fmt: skip


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "words.parquet").write_text("technique,value\nmean,0.1\n")
    (tmp_path / "empty.parquet").touch()
    table().save(tmp_path / "t.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-20])
    for name in ("words", "empty", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.parquet: expected a Parquet file"):
            Table.load(tmp_path / f"{name}.parquet")
    other = pyarrow.table({"value": [1.0]})
    parquet.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet: expected the format ttc_fast\.Table/1, got none"):
        Table.load(tmp_path / "other.parquet")
    parquet.write_table(other.replace_schema_metadata({"format": "ttc_fast.Table/9"}), tmp_path / "later.parquet")
    with pytest.raises(ValueError, match=r"expected the format ttc_fast\.Table/1, got ttc_fast\.Table/9"):
        Table.load(tmp_path / "later.parquet")
    with pytest.raises(FileNotFoundError):
        Table.load(tmp_path / "missing.parquet")
    for path in (tmp_path / "t.csv", tmp_path / "t"):
        with pytest.raises(ValueError, match=r"path: expected a file that ends in \.parquet"):
            table().save(path)
        with pytest.raises(ValueError, match=r"path: expected a file that ends in \.parquet"):
            Table.load(path)


def rewritten(path: Path, change: Any) -> None:
    """The saved table with its rows changed by another program, which keeps the metadata."""
    saved = parquet.read_table(path)
    parquet.write_table(change(saved).replace_schema_metadata(saved.schema.metadata), path)


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    """Another program may have sorted them: every figure stays with its key and prompt."""
    made = table()
    made.save(tmp_path / "t.parquet")
    rewritten(tmp_path / "t.parquet", lambda saved: saved.take([5, 1, 3, 0, 4, 2]))
    read = Table.load(tmp_path / "t.parquet")
    assert set(read.keys) == set(made.keys)
    assert read.prompts.tolist() == [3, 5]
    for name in made.keys:
        assert read[name].tolist() == made[name].tolist()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 5, 5]])
def test_rows_must_be_complete(rows: list[int], tmp_path: Path) -> None:
    table().save(tmp_path / "t.parquet")
    rewritten(tmp_path / "t.parquet", lambda saved: saved.take(rows))
    with pytest.raises(ValueError, match=r"t\.parquet: expected "):
        Table.load(tmp_path / "t.parquet")


def test_columns_must_be_there(tmp_path: Path) -> None:
    for name in ("technique", "prompt", "value"):
        table().save(tmp_path / "t.parquet")
        rewritten(tmp_path / "t.parquet", lambda saved, name=name: saved.drop_columns([name]))
        with pytest.raises(ValueError, match=rf"t\.parquet: expected .*{name}"):
            Table.load(tmp_path / "t.parquet")


def test_figures_by_key() -> None:
    made = table()
    assert made[key()].tolist() == [0.25, 0.5]
    assert made["binary", "mean", 2, 1, "hamming"].tolist() == [0.75, 1.0]
    assert key() in made
    assert key("median") not in made
    with pytest.raises(KeyError, match=r"no figures of .*median.*; table\.keys lists those there are"):
        made[key("median")]
    assert made.work(key("best_of_n")) == (8.0, 4.5)
    with pytest.raises(ValueError, match="work: expected a table that has it, got one without"):
        table(scores=None).work(key())
    assert "Table(3 figures of 2 prompts; coefficients: binary; technique: best_of_n, mean; steps: 2" in repr(made)


def test_select() -> None:
    made = table()
    assert made.select(technique="mean").keys == (key(), key(samples=1))
    assert made.select(technique="mean", samples=1).keys == (key(samples=1),)
    assert made.select(samples=(1, 4), metric=["hamming"]).keys == made.keys
    part = made.select(technique="best_of_n")
    assert part[key("best_of_n")].tolist() == made[key("best_of_n")].tolist()
    assert part.work(key("best_of_n")) == (8.0, 4.5)
    assert part.about == made.about
    assert made.select(samples=np.int64(1)).keys == (key(samples=1),)
    assert_equal(made.select(), made)
    with pytest.raises(ValueError, match="technique: expected one of 'best_of_n', 'mean', got 'median'"):
        made.select(technique="median")
    with pytest.raises(ValueError, match="samples: expected one of 4, got 1"):
        made.select(technique="best_of_n", samples=1)
    with pytest.raises(
        TypeError, match="select: expected coefficients, technique, steps, samples, metric, got 'budget'"
    ):
        made.select(budget=3)
    with pytest.raises(ValueError, match=re.escape("samples: expected one of 1, 4, got [2, 8]")):
        made.select(samples=[2, 8])


def test_summary_and_records() -> None:
    """The t interval of every figure; theory and its z where there is a law, else None, and with its variance."""
    made = measured(GaussianNoise(0.3), 12)
    summary = made.summary(0.9)
    assert list(summary) == list(made.keys)
    for name, values in zip(made.keys, made.values):
        assert summary[name] == summarize(values, 0.9)
    records = table().records()
    assert list(records[0]) == [*Key._fields, "mean", "ci_low", "ci_high", "median", "theory", "z"]
    assert (records[0]["mean"], records[0]["theory"]) == (0.375, pytest.approx(0.3))
    # Differences 0.05 and 0.1: mean 0.075, standard error 0.025, so Student's t is 3; t has its tail probability.
    check = table().theory_checks()[key()]
    assert check.t == pytest.approx(stats.norm.isf(stats.t.sf(3, 1)))
    assert check.difference == pytest.approx(0.075)
    assert check.half == pytest.approx(0.025 * stats.t.isf(0.025, 1))
    assert records[0]["z"] is None
    variance = np.array([[0.0009, 0.0016], [math.nan, math.nan], [math.nan, math.nan]])
    assert table(theory_variance=variance).records()[0]["z"] == pytest.approx(0.075 / (0.05 / 2))
    assert records[1]["theory"] is records[1]["z"] is None
    assert list(table().theory_checks()) == [key()]
    assert table(theory=None).theory_checks() == {}
    assert [r["theory"] for r in table(theory=None).records()] == [None] * 3


def test_join() -> None:
    one = table()
    other = table(keys=(key("a"), key("b"), key("c")), theory=None, values=np.ones((3, 2)))
    both = one.join(other)
    assert both.keys == one.keys + other.keys
    assert both[key("b")].tolist() == [1.0, 1.0]
    assert both[key()].tolist() == one[key()].tolist()
    assert both.theory is not None
    assert np.isnan(both.theory[3:]).all()
    assert one.theory is not None
    np.testing.assert_array_equal(both.theory[:3], one.theory)
    assert other.join(table(theory=None)).theory is None
    for wrong, message in (
        (one, "keys: expected each once, got"),
        (replace(other, prompts=np.array([3, 6])), "other: expected figures of the same prompts, got others"),
        (replace(other, about={}), "other: expected the same facts, got {'seed': '0'} and {}"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            one.join(wrong)


def test_frame() -> None:
    """The columns that issue 12 promises, a row for each figure and prompt; theory where there is some."""
    made = measured(BernoulliSampling(), 3, 7, budgets=[1, 8])
    frame = made.to_pandas()
    names = ["coefficients", "technique", "steps", "samples", "metric", "prompt", "value"]
    assert list(frame.columns) == names
    assert len(frame) == made.values.size
    for name in made.keys[::5]:
        rows = frame[(frame[names[:5]] == list(name)).all(axis=1)]
        assert rows["prompt"].tolist() == [7, 8, 9]
        assert rows["value"].tolist() == made[name].tolist()
    assert list(made.to_pandas(work=True).columns) == [*names, "thoughts", "scores"]
    assert list(table().to_pandas().columns) == [*names, "theory"]
    assert frame["value"].dtype == np.float64
    assert frame["prompt"].dtype == frame["steps"].dtype == np.int64


def test_frame_after_overlay() -> None:
    prompts = LinearRegression(3, 8).sample(3, seed=2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=8), GaussianNoise(0.3))
    made = overlay(decoder, prompts, evaluate(decoder, prompts, steps=[1, 3], samples=8, techniques=["mean", "median"]))
    frame = made.to_pandas()
    assert list(frame.columns)[-2:] == ["value", "theory"]
    assert not frame[frame.technique == "mean"]["theory"].isna().any()


def test_dataset() -> None:
    """Dimensions by name; NaN where there is no figure."""
    data = table().to_xarray()
    assert data["steps"].attrs["units"] == "thoughts"
    assert set(data.dims) == {*Key._fields, "prompt"}
    assert set(data.data_vars) == {"value", "theory", "thoughts", "scores"}
    mean = data.sel(technique="mean", metric="hamming", coefficients="binary", steps=2)
    assert mean.value.sel(samples=1).values.tolist() == [0.75, 1.0]
    assert mean.prompt.values.tolist() == [3, 5]
    assert np.isnan(data.value.sel(technique="best_of_n", samples=1)).all()


def test_packages_are_named_where_they_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = table()
    for package, call in (
        ("pandas", made.to_pandas),
        ("xarray", made.to_xarray),
        ("pyarrow", lambda: made.save(tmp_path / "t.parquet")),
        ("pyarrow", lambda: Table.load(tmp_path / "t.parquet")),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=f"{package} is needed for this: pip install {package}"):
                call()
