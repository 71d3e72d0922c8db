"""The decode: the reference against a decode by hand, and the promises of the random-number contract."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoding_problems import AUTHORS_RULES, RULES, fitting, problem
from ttc_fast import BernoulliSampling, GaussianNoise, GeometricDecay, PowerLawDecay, backends, decode
from ttc_fast.decoding import chain, reference
from ttc_fast.decoding.backends import resolve_backend
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng


def words_by_hand(seed: int, sample: int, coordinate: int, stream: int, block: int, prompt: int) -> list[int]:
    """Philox4x32-10 in Python's integers."""
    c, k = [sample, coordinate | stream << 24, block, prompt], [seed % 2**32, seed >> 32]
    for _ in range(10):
        p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [q >> 32 ^ c[1] ^ k[0], q % 2**32, p >> 32 ^ c[3] ^ k[1], p % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def sample_by_hand(
    state: NDArray[np.float64], w: NDArray[np.float64], rule: Rule, steps: int, seed: int, sample: int, prompt: int
) -> list[NDArray[np.float64]]:
    """The thoughts after 0, 1, ..., ``steps`` steps of one sample, one scalar at a time."""
    thoughts, dim = [w], len(w)
    for t in range(steps):
        u = [w[i] + sum(state[i, j] * w[j] for j in range(dim)) - state[i, dim] for i in range(dim)]
        answer = np.zeros(dim)
        for i in range(dim):
            words = words_by_hand(seed, sample, i, 0 if isinstance(rule, GaussianNoise) else 1, t // 4, prompt)
            if isinstance(rule, GaussianNoise):
                a, b = words[t % 4 // 2 * 2], words[t % 4 // 2 * 2 + 1]
                radius, angle = math.sqrt(-2 * math.log((a + 0.5) / 2**32)), 2 * math.pi * b / 2**32
                scale = float(rule.scales(steps)[t])
                answer[i] = u[i] + scale * radius * (math.cos(angle) if t % 2 == 0 else math.sin(angle))
            else:
                assert isinstance(rule, BernoulliSampling)
                p = min(max(u[i], 0), 1)
                if rule.link == "sigmoid":
                    assert rule.temperature is not None
                    p = 1 / (1 + math.exp(-(u[i] - 0.5) / rule.temperature))
                answer[i] = (words[t % 4] >> 8) / 2**24 < p
        last_step = isinstance(rule, BernoulliSampling) and rule.sample_at == "last_step"
        w = np.array(u) if last_step else answer
        thoughts.append(answer)
    return thoughts


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_reference_equals_a_decode_by_hand(rule: Rule, seed: int) -> None:
    state, w0 = problem(2, 3, torch.float64)
    first_sample, first_prompt = 2**32 - 2, 2**31
    out = decode(
        state,
        w0,
        rule=rule,
        steps=range(11),
        samples=2,
        seed=seed,
        first_sample=first_sample,
        first_prompt=first_prompt,
    )
    assert out.backend == "reference"
    assert out.steps == tuple(range(11))
    for b in range(2):
        for n in range(2):
            hand = sample_by_hand(state[b].numpy(), w0[b].numpy(), rule, 10, seed, first_sample + n, first_prompt + b)
            np.testing.assert_allclose(out.thoughts[:, b, n], hand, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_do_not_depend_on_the_chunk(rule: Rule, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 2: batch, chunk, shard, number of samples, threads, tile, and the other asked steps."""
    state, w0 = problem(5, 7, dtype)
    arguments: dict[str, Any] = {"rule": rule, "steps": [1, 4, 9], "seed": 3}
    torch.set_num_threads(2)
    whole = decode(state, w0, samples=4097, **arguments).thoughts
    assert not whole.isnan().any()
    for threads, tile, b, n in ((1, 2**15, 1, 1), (3, 2**15, 5, 10), (2, 1000, 3, 4097), (2, 2**20, 2, 63)):
        torch.set_num_threads(threads)
        monkeypatch.setattr(chain, "TILE", tile)
        part = decode(state[:b], w0[:b], samples=n, **arguments).thoughts
        assert torch.equal(part, whole[:, :b, :n])
    shard = decode(state[2:], w0[2:], samples=96, first_sample=4001, first_prompt=2, **arguments).thoughts
    assert torch.equal(shard, whole[:, 2:, 4001:])
    other_steps = decode(state, w0, samples=5, **{**arguments, "steps": [9, 3, 1, 1]}).thoughts
    assert torch.equal(other_steps[[3, 0]], whole[[0, 2], :, :5])


@pytest.mark.parametrize("rule", [GaussianNoise(GeometricDecay(0.3, 0.9)), BernoulliSampling("clip")])
@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_chain_can_be_resumed(rule: Rule, cut: int) -> None:
    state, w0 = problem(3, 4)
    whole = decode(state, w0, rule=rule, steps=[cut, 7], samples=9, seed=1).thoughts
    rest = decode(state, whole[0], rule=rule, steps=[cut, 7], samples=9, seed=1, first_step=cut).thoughts
    assert torch.equal(rest, whole)


def test_steps_and_samples_at_their_ends() -> None:
    state, w0 = problem(2, 3)
    for rule in RULES:
        nothing = decode(state, w0, rule=rule, steps=[], samples=4).thoughts
        assert nothing.shape == (0, 2, 4, 3)
        initial = decode(state, w0, rule=rule, steps=[0], samples=4).thoughts
        assert torch.equal(initial[0], w0[:, None].expand(2, 4, 3))
        assert decode(state, w0, rule=rule, steps=[1, 2], samples=0).thoughts.shape == (2, 2, 0, 3)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (GeometricDecay(0.5, 0.8), [0.5, 0.4, 0.32, 0.256]),
        (PowerLawDecay(0.5, 0.5), [0.5, 0.5 / 2**0.5, 0.5 / 3**0.5, 0.25]),
        (0.25, [0.25] * 4),
        ([0.1, 0.0, 0.3, 0.2, 9.0], [0.1, 0.0, 0.3, 0.2]),
    ],
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    np.testing.assert_allclose(GaussianNoise(schedule).scales(4), expected)


def test_noise_free_decoding_makes_all_samples_one() -> None:
    state, w0 = problem(2, 5)
    for rule in RULES:
        thoughts = decode(state, w0, rule=rule.greedy(), steps=[1, 6], samples=3, seed=1).thoughts
        other_seed = decode(state, w0, rule=rule.greedy(), steps=[1, 6], samples=3, seed=2).thoughts
        assert torch.equal(thoughts, thoughts[:, :, :1].expand_as(thoughts))
        assert torch.equal(thoughts, other_seed)


def test_different_samples_prompts_seeds_differ() -> None:
    state, w0 = problem(1, 6)
    state, w0 = state.expand(2, -1, -1), w0.expand(2, -1)
    one, two = (
        decode(state, w0, rule=GaussianNoise(0.3), steps=[1], samples=2, seed=s).thoughts for s in (1, 2**32 + 1)
    )
    rows = torch.cat((one.flatten(0, 2), two.flatten(0, 2)))
    assert len(rows.unique()) == rows.numel()


def test_truth_absorbs_the_clip_link() -> None:
    """Without label noise u(w*) = w*, so a chain at w* stays there."""
    state, _ = problem(4, 6, torch.float64)
    w_star = torch.linalg.solve(state[:, :, :-1], state[:, :, -1]).round()
    thoughts = decode(state, w_star, rule=BernoulliSampling("clip"), steps=[1, 50], samples=64).thoughts
    assert torch.equal(thoughts, w_star[:, None].expand_as(thoughts))


def test_float32_step_is_near_float64() -> None:
    """One teacher-forced step of both rules from the same thoughts.

    Rounding: u sums d + 1 products, each below max|state| * max|w|, in float32: (d + 3) eps of the largest
    partial sum. A normal differs by 2 pi eps * 6.8 through its angle and less through its radius.
    A Bernoulli draw may differ only where |uniform - p| is within the error of p.
    """
    eps, dim = 2.0**-24, 16
    state, _ = problem(8, dim, torch.float64)
    w = torch.rand(8, 500, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    magnitude = (w + (w @ state[:, :, :-1].abs().mT) + state[:, None, :, -1].abs()).max().item()
    u_error = (dim + 3) * eps * magnitude + eps  # eps: state and w themselves are rounded

    def step(rule: Rule, dtype: torch.dtype) -> Tensor:
        return decode(state.to(dtype), w.to(dtype), rule=rule, steps=[1], samples=500).thoughts[0].double()

    sigma = 0.3
    noise_error = sigma * (2 * math.pi + 4) * 6.8 * eps
    difference = (step(GaussianNoise(sigma), torch.float32) - step(GaussianNoise(sigma), torch.float64)).abs()
    assert difference.max() < 2 * u_error + noise_error

    rule = BernoulliSampling("sigmoid", 0.25)
    exact, rounded = step(rule, torch.float64), step(rule, torch.float32)
    u = w + w @ state[:, :, :-1].mT - state[:, None, :, -1]
    words = rng.philox(
        rng.counter(
            rng.Stream.BERNOULLI,
            prompt=torch.arange(8)[:, None, None],
            sample=torch.arange(500)[:, None],
            coordinate=torch.arange(dim),
        ),
        0,
    )
    margin = (rng.uniform(words[0], torch.float64) - rule.probability(u)).abs()
    flips = exact != rounded
    assert bool((margin[flips] < 2 * u_error / 0.25 / 4 + 4 * eps).all())  # a sigmoid's slope is 1 / (4 tau)
    assert flips.sum() <= 2


S, W0 = problem(2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": S[0]}, "state: expected shape [B, d, d+1], got [3, 4]"),
        ({"state": S[:, :, 1:]}, "state: expected shape [B, d, d+1] with d >= 1, got [2, 3, 3]"),
        ({"state": S.half()}, "state: expected dtype float32 or float64, got torch.float16"),
        ({"state": S * float("nan")}, "state: expected finite numbers, got nan at [0, 0, 0]"),
        ({"w0": W0[:1]}, "w0: expected shape [2, 3], got [1, 3]"),
        ({"w0": W0[:, None]}, "w0: expected shape [2, 4, 3], got [2, 1, 3]"),
        ({"w0": W0.double()}, "w0: expected torch.float32 on cpu as state, got torch.float64"),
        ({"w0": W0 / 0}, "w0: expected finite numbers, got inf at [0, 0]"),
        ({"rule": "gaussian"}, "rule: expected an object with the method thought (see ttc_fast.Rule), got str"),
        ({"rule": GaussianNoise([0.1])}, "noise_scale: expected one number for each of 2 steps, got 1"),
        ({"steps": [1, -1]}, "steps: expected an integer from 0"),
        ({"steps": [1.5]}, "steps: expected an integer, got 1.5"),
        ({"steps": [1], "first_step": 2}, "steps: expected an integer from 2"),
        ({"samples": -1}, "samples: expected an integer from 0"),
        ({"samples": True}, "samples: expected an integer, got True"),
        ({"seed": 2**64}, "seed: expected an integer from 0 to 18446744073709551615, got 18446744073709551616"),
        ({"first_sample": 2**32 - 3}, "first_sample: expected an integer from 0 to 4294967292"),
        ({"first_prompt": -1}, "first_prompt: expected an integer from 0"),
        ({"backend": "cuda"}, "backend: expected one of 'auto', 'triton', 'native', 'reference', got 'cuda'"),
        ({"backend": "triton"}, "backend: 'triton' cannot run"),
        ({"precision": "half"}, "precision: expected one of 'fp32', 'ieee', 'tf32', got 'half'"),
        ({"precision": "tf32"}, "precision: 'tf32' needs the triton backend, which cannot run: "),
        ({"precision": "tf32", "backend": "reference"}, "backend: 'reference' cannot run: it computes in float32"),
    ],
)
def test_decode_refuses(arguments: dict[str, Any], message: str) -> None:
    given = {"state": S, "w0": W0, "rule": GaussianNoise(0.1), "steps": [2], "samples": 4, **arguments}
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        decode(given.pop("state"), given.pop("w0"), **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_of_a_step_are_those_of_the_decode(dtype: torch.dtype) -> None:
    state, w0 = torch.zeros(2, 3, 4, dtype=dtype), torch.zeros(2, 3, dtype=dtype)
    where: dict[str, Any] = {"seed": 7, "first_sample": 4, "first_prompt": 9}
    for step in range(6):
        drawn = reference.normals(2, 50, 3, step=step, like=state, **where)
        assert drawn.dtype == dtype
        arguments: dict[str, Any] = {"rule": GaussianNoise(1.0), "steps": [step + 1], "first_step": step, **where}
        assert torch.equal(drawn, decode(state, w0, samples=50, backend="reference", **arguments).thoughts[0])


@pytest.mark.parametrize("method", ["stepwise", "exact"])
def test_thoughts_are_written_where_asked(method: Any) -> None:
    """In float64, whose backend is the reference, and where thoughts are drawn from their exact law."""
    state, w0 = problem(2, 3, torch.float64)
    larger = torch.full((2, 2, 9, 3), -7.0, dtype=torch.float64)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.3), "steps": [4, 1], "samples": 5, "method": method}
    got = decode(state, w0, out=larger[:, :, 2:7], **arguments).thoughts
    assert got.data_ptr() == larger[:, :, 2:7].data_ptr()
    assert torch.equal(larger[:, :, 2:7], decode(state, w0, **arguments).thoughts)
    assert bool((larger[:, :, :2] == -7.0).all())
    assert bool((larger[:, :, 7:] == -7.0).all())
    for steps, samples in (([], 5), ([4, 1], 0)):
        asked = {**arguments, "steps": steps, "samples": samples}
        assert decode(state, w0, out=w0.new_zeros(len(steps), 2, samples, 3), **asked).thoughts.numel() == 0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.zeros(1, 2, 4, 2), "out: expected shape [1, 2, 4, 3], got [1, 2, 4, 2]"),
        (torch.zeros(2, 4, 3), "out: expected shape [1, 2, 4, 3], got [2, 4, 3]"),
        (torch.zeros(1, 2, 4, 3).double(), "out: expected torch.float32 on cpu as w0, got torch.float64 on cpu"),
        (torch.zeros(1, 2, 3, 4).mT, "out: expected the numbers [N, d] of a prompt and step one after the other"),
        (torch.zeros(1, 2, 4, 6)[..., :3], "out: expected the numbers [N, d] of a prompt and step"),
        (torch.zeros(1, 2, 8, 3)[:, :, ::2], "out: expected the numbers [N, d] of a prompt and step"),
        (torch.zeros(1, 1, 4, 3).expand(1, 2, 4, 3), "out: expected a place of its own for each thought"),
        (np.zeros((1, 2, 4, 3), np.float32), "out: expected a torch.Tensor, got ndarray"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_decode_refuses_a_place_to_write_to(out: Any, message: str, backend: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        decode(S, W0, rule=GaussianNoise(0.1), steps=[2], samples=4, out=out, backend=backend)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(-0.1), "noise_scale: expected a finite number of at least 0, got -0.1"),
        (lambda: GaussianNoise([0.1, -0.1]), "noise_scale: expected finite numbers >= 0"),
        (lambda: GaussianNoise([0.1, float("nan")]), "noise_scale: expected finite numbers >= 0"),
        (lambda: GaussianNoise("0.1"), "noise_scale: expected a number, got '0.1'"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: GeometricDecay(0.1, float("inf")), "ratio: expected a finite number of at least 0, got inf"),
        (lambda: PowerLawDecay(-1.0, 1.0), "initial: expected a finite number of at least 0, got -1.0"),
        (lambda: BernoulliSampling("probit"), "link: expected one of 'sigmoid', 'clip', got 'probit'"),  # type: ignore[arg-type]  # on purpose
        (lambda: BernoulliSampling(temperature=-1.0), "temperature: expected a finite number of at least 0, got -1.0"),
        (lambda: BernoulliSampling("clip", 0.1), "temperature: expected none with link='clip', got 0.1"),
        (lambda: BernoulliSampling(sample_at="never"), "sample_at: expected one of"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_rules_refuse(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


def test_backends_are_data() -> None:
    table = {b.name: b for b in backends()}
    assert set(table) == {"reference", "native", "triton"}
    assert table["reference"].available
    assert all(b.reason for b in table.values())


@pytest.mark.parametrize("rule", [*RULES, *AUTHORS_RULES])
def test_operator_is_well_formed(rule: Rule) -> None:
    """torch.library.opcheck: schema, fake tensors, dispatch."""
    state, w0 = problem(2, 3)
    encoded = fitting(rule, 3).encode(4)
    assert encoded is not None
    backend = "reference" if rule in RULES else resolve_backend("auto")
    arguments = (state, w0, *encoded, [1, 4], 5, -1, 2, 3, 0, backend, "fp32")
    torch.library.opcheck(torch.ops.ttc_fast.decode.default, arguments)
