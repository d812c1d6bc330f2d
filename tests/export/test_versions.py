"""Where a SavedModel stands, and what is said where none does."""

import re

import pytest

from tfllm.checks import InputError
from tfllm.export.versions import find_version, next_version


def test_the_directory_above_savedmodels_is_told_from_one_without_any(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=re.escape(f"holds SavedModels (a, b). Give one of them: {tmp_path / 'a'}.")):
        find_version(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="holds no SavedModel: neither"):
        find_version(tmp_path / "c")


def test_a_directory_of_models_and_a_file_are_no_place_for_a_version(tmp_path):
    for name in ("reviews/1", "reviews/.old/1"):
        (tmp_path / "savedmodels" / name).mkdir(parents=True)
        (tmp_path / "savedmodels" / name / "saved_model.pb").touch()
    (tmp_path / "release" / "logs" / "2026").mkdir(parents=True)
    assert next_version(tmp_path / "release").name == "1"
    assert next_version(tmp_path / "savedmodels" / "reviews" / "archive").name == "1"
    assert next_version(tmp_path / "savedmodels" / "reviews").name == "2"
    with pytest.raises(InputError, match=r"holds SavedModels \(reviews\); give .*savedmodels.NAME"):
        next_version(tmp_path / "savedmodels")
    (tmp_path / "rows.csv").touch()
    with pytest.raises(InputError, match=r"rows\.csv is a file"):
        next_version(tmp_path / "rows.csv")
