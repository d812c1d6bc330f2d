"""The settings of what writes: what they may be."""

import pytest

from tfllm.checks import InputError
from tfllm.writing import RowSettings, read_settings


@pytest.mark.parametrize("name", RowSettings._fields)
@pytest.mark.parametrize("value", [[[1], [2, 3]], [1, [2]], None, "1", [None], 10**30 * 1j, [object()]])
def test_what_is_no_number_nor_a_list_of_them_is_refused(name, value):
    with pytest.raises(InputError, match=rf"^`{name}` must be .* Received: "):
        read_settings({name: value})


def test_every_text_may_have_settings_of_its_own():
    rows, _ = read_settings({"max_new_tokens": [1, 2], "top_p": [0.5, 1]})
    assert (rows.max_new_tokens, rows.top_p, rows.seed) == ([1, 2], [0.5, 1], 0)
