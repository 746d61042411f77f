import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from coursekit import data, judge


@pytest.fixture(scope="module")
def digits():
    return data.mnist("sample")


def test_the_judge_knows_digits_that_it_never_saw(digits):
    predicted = judge.probabilities(digits.test.x).argmax(dim=1)
    assert (predicted == digits.test.y).float().mean() > 0.985


def test_probabilities_are_the_last_layer_on_the_features(digits):
    x = digits.test.x[:5]
    assert judge.features(x).shape == (5, 64)
    torch.testing.assert_close(judge.probabilities(x).sum(dim=1), torch.ones(5))


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # some features are 0 for all of these digits
def test_distance_is_that_with_the_matrix_root_of_scipy(digits):
    first, second = digits.train.x[:300], digits.valid.x
    f, g = (judge.features(some).double().numpy() for some in (first, second))
    spreads = np.cov(f.T), np.cov(g.T)
    root = sqrtm(spreads[0] @ spreads[1]).real
    expected = np.square(f.mean(axis=0) - g.mean(axis=0)).sum() + np.trace(spreads[0] + spreads[1] - 2 * root)
    assert judge.score(first, second).frechet.value == pytest.approx(expected, rel=1e-3)


def test_no_distance_to_itself(digits):
    assert judge.score(digits.valid.x, digits.valid.x).frechet.value == pytest.approx(0, abs=1e-3)


def test_one_kind_alone_has_no_second_class(digits):
    sevens = digits.train.x[digits.train.y == 7][:200]
    score = judge.score(sevens, digits.test.x)
    assert score.sure.value > 0.95
    assert score.smallest_class.value == 0
    assert score.inception.value < 1.2
    assert score.frechet.value > 500


def test_smallest_class_counts_classes_that_never_occur_and_fractions_add_up(digits):
    balanced = torch.cat([digits.train.x[digits.train.y == kind][:20] for kind in range(10)])
    assert 0.085 <= judge.score(balanced, digits.test.x).smallest_class.value <= 0.1


def test_inception_score_is_nearly_ten_for_real_digits_and_nearly_one_for_noise(digits):
    assert judge.score(digits.test.x, digits.train.x[:500]).inception.value > 9.5
    noise = torch.rand(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert judge.score(noise, digits.test.x).inception.value < 1.5


def test_error_of_a_fraction_is_the_binomial_one(digits):
    half = torch.cat([digits.test.x[:400], torch.zeros(400, 1, 28, 28)])
    assert judge.probabilities(half[400:]).max() < 0.9  # an empty page is no digit
    sure = judge.score(half, digits.test.x).sure
    expected = math.sqrt(sure.value * (1 - sure.value) / 800)
    assert sure.error == pytest.approx(expected, rel=0.5)  # 20 resamples: to within 16 % or so


def test_score_repeats_itself_and_leaves_the_random_state_alone(digits):
    before = torch.get_rng_state()
    assert judge.score(digits.valid.x, digits.test.x) == judge.score(digits.valid.x, digits.test.x)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_real_digits_serve_as_well_as_the_digits(digits):
    images, real = digits.valid.x[:200], digits.test.x[:300]
    assert judge.score(images, judge.features(real)) == judge.score(images, real)
    with pytest.raises(ValueError, match="`images` must be a tensor"):
        judge.score(judge.features(images), real)


def test_fewer_images_are_farther_away(digits):
    few, many = (
        judge.score(digits.train.x[:count], digits.test.x[:count]).frechet.value for count in (100, 1000)
    )
    assert few > 3 * many


def test_score_reads_well(digits):
    assert str(judge.Measured(182.6, 4.2)) == "183 ± 4"
    assert str(judge.Measured(0.583, 0.016)) == "0.58 ± 0.02"
    printed = str(judge.score(digits.valid.x, digits.test.x))
    assert printed.startswith("sure of 0.9")
    assert "smallest class 0." in printed
    assert "Fréchet distance" in printed


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(200, 784), r"`images` must be a tensor \(N, 1, 28, 28\) of images, not \(200, 784\)"),
        (np.zeros((200, 1, 28, 28)), r"`images` must be a tensor"),
        (torch.zeros(200, 1, 28, 28) - 1, r"`images` must lie in \[0, 1\], but go from -1 to -1"),
        (torch.full((200, 1, 28, 28), torch.nan), r"`images` must lie in \[0, 1\], but go from nan to nan"),
        (torch.zeros(99, 1, 28, 28), "`images` has 99 images; the scores need 100 at least"),
    ],
)
def test_what_is_no_set_of_digits_is_named(images, message, digits):
    with pytest.raises(ValueError, match=message):
        judge.score(images, digits.test.x)


def test_too_few_real_ones_are_named(digits):
    with pytest.raises(ValueError, match="`real` has 10 images"):
        judge.score(digits.test.x, digits.test.x[:10])
