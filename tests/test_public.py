"""The public names of `tfllm`."""

import inspect

import pytest

import tfllm


@pytest.mark.parametrize("name", tfllm.__all__)
def test_every_public_name_resolves_and_says_what_it_is(name):
    value = getattr(tfllm, name)
    assert name in dir(tfllm)
    if callable(value):
        assert inspect.getdoc(value)
        assert value.__module__.split(".")[0] == "tfllm"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tfllm' has no attribute 'nothing'"):
        _ = tfllm.nothing


def test_names_are_distinct_and_the_version_is_a_release_number():
    assert len(set(tfllm.__all__)) == len(tfllm.__all__)
    assert all(part.isdigit() for part in tfllm.__version__.split(".")[:2])
