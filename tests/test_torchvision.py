"""torchvision can be imported, whatever torch its compiled operators were built for."""

import subprocess
import sys

import pytest

from mixerlib._torchvision import import_torchvision


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_torchvision_imports_in_a_fresh_interpreter():
    """Where the plain import fails over a missing operator, and only there, two are declared."""
    plain = python("import torchvision")
    missing = "operator torchvision::nms does not exist" in plain.stderr
    assert missing or plain.returncode == 0, plain.stderr
    ours = python(
        "from mixerlib import _torchvision as ours\n"
        "assert ours.import_torchvision() is ours.import_torchvision()\n"
        "import torchvision, timm\n"
        "print(torchvision.datasets.CIFAR10.base_folder, ours._declared_operators is not None)"
    )
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout.split() == ["cifar-10-batches-py", str(missing)]


def test_other_import_errors_are_not_hidden(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr("mixerlib._torchvision.importlib.import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()
