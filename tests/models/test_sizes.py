"""Sizes have the parameters the papers count."""

import pytest

from tfllm.models import SIZES, build_encoder


@pytest.mark.parametrize(
    ("size", "published"), [("tiny", 4.4e6), ("mini", 11.2e6), ("small", 28.8e6), ("medium", 41.4e6)]
)
def test_parameters_are_those_of_turc_et_al_table_1(size, published):
    assert build_encoder(30522, **SIZES[size]).count_params() == pytest.approx(published, rel=0.01)


def test_base_has_as_many_parameters_as_the_published_uncased_checkpoint():
    assert build_encoder(30522, **SIZES["base"]).count_params() == 109_482_240
