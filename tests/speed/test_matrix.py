"""A list of races in a file: what stands for what, and files that list none."""

import pytest
import torch
import yaml
from helpers import ROOT

from mixerlib.speed.bench import model_of
from mixerlib.speed.matrix import read_matrix

SWEEPS = ROOT / "book" / "sweeps"


def test_the_committed_matrix():
    """k from 3 to 9 of both kinds, both layouts, three dtypes, compiled, each cuDNN setting."""
    races = read_matrix(SWEEPS / "bench_matrix.yaml", "cuda")
    cases = [case for race in races.values() for case in race]
    kernels = {(case.model, case.options["kernel_size"]) for case in cases}
    assert kernels == {(model, k) for model in ("convmixer", "splitmixer_i") for k in range(3, 10)}
    for model, k in kernels:
        group = [case for case in cases if (case.model, case.options["kernel_size"]) == (model, k)]
        plain = [case for case in group if not case.form.compile]
        different = {(case.dtype, case.form.channels_last, case.depthwise) for case in plain}
        assert len(different) == 3 * 2 * 3 == len(plain)
        compiled = [(c.dtype, c.form.channels_last) for c in group if c.form.compile]
        assert len(set(compiled)) == len(compiled) == (6 if k % 2 else 0)
    assert next(iter(races)) == "convmixer-k7-bfloat16"  # what is wanted first
    on_cpu = read_matrix(SWEEPS / "bench_matrix.yaml", "cpu")
    assert list(on_cpu) == list(races)
    assert all(case.depthwise is None for race in on_cpu.values() for case in race)
    for case in on_cpu["splitmixer_i-k4-float32"]:
        model_of(case, torch.device("meta"))


ENTRY = {
    "models": ["convmixer"],
    "options": {"dim": 4, "depth": 1, "patch_size": 2},
    "kernel_sizes": [3],
    "dtypes": ["float32"],
    "layouts": ["contiguous"],
    "batch": 2,
    "image_size": 4,
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("races: [", "is not YAML"),
        ("[]", "must hold the key `races` and no other"),
        ({"races": [], "rounds": 3}, "must hold the key `races` and no other"),
        ({"races": []}, r"`races`=\[\] must be a list of entries"),
        ({"races": [ENTRY, 3]}, r"`races\[1\]`=3 must have the keys `models` and `kernel_sizes`"),
        (
            {"races": [ENTRY | {"dtyps": []}]},
            r"`races\[0\]`=.* must have the keys .* may have",
        ),
        ({"races": [ENTRY | {"options": 3}]}, r"`races\[0\]`: `options`=3 must be a table"),
        (
            {"races": [ENTRY | {"models": []}]},
            r"`models`=\[\] must be a list of texts",
        ),
        ({"races": [ENTRY | {"kernel_sizes": ["3"]}]}, "must be a list of whole numbers"),
        ({"races": [ENTRY | {"compile": "default"}]}, "`compile`='default' must be a list"),
        ({"races": [ENTRY | {"layouts": ["NCHW"]}]}, r"`races\[0\]`: `layout`='NCHW' must be"),
        ({"races": [ENTRY | {"models": ["convmixr"]}]}, r"`races\[0\]`: .* did you mean"),
        ({"races": [ENTRY | {"options": {"dims": 8}}]}, r"`races\[0\]`: `dims`=8 is not an option"),
        ({"races": [ENTRY | {"options": {"dim": 2**31}}]}, r"`races\[0\]`: `dim`=2147483648 must"),
        (
            {"races": [ENTRY | {"batch": 2**31}]},
            r"`races\[0\]`: `batch`=2147483648 must be at most",
        ),
        (
            {"races": [ENTRY | {"kernel_sizes": [3] * 200, "layouts": ["contiguous"] * 100}]},
            r"`races\[0\]`: 20,000 cases are above 10,000",
        ),
        ({"races": [ENTRY, ENTRY | {"batch": 3}]}, r"`races\[1\]` lists a second race"),
    ],
)
def test_files_that_list_no_races(tmp_path, content, message):
    path = tmp_path / "matrix.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(ValueError, match=f"matrix.yaml.*{message}"):
        read_matrix(path, "cpu")


def test_a_race_that_is_listed_again_is_left_out(tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump({"races": [ENTRY, ENTRY | {"kernel_sizes": [5, 3]}]}))
    assert list(read_matrix(path, "cpu")) == ["convmixer-k3-float32", "convmixer-k5-float32"]


def test_a_mode_of_the_compiler(tmp_path):
    path = tmp_path / "matrix.yaml"
    compiled = {"compile": ["default", "max-autotune"], "layouts": ["channels_last"]}
    path.write_text(yaml.safe_dump({"races": [ENTRY | compiled]}))
    (cases,) = read_matrix(path, "cpu").values()
    modes = [(case.form.compile, case.compile_mode) for case in cases]
    assert modes == [(False, "default"), (True, "default"), (True, "max-autotune")]
    assert all(case.form.channels_last for case in cases)
