"""Why torch sees no GPU: no driver, one that is too old for it, or one that is there; on machines pretended here."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from mgie.io import devices
from mgie.io.devices import NoGPU, Wanted, device_of, driver, placement, said_of, sees_gpu, why_no_gpu

PROC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Jan  1 00:00:00 UTC 2030\nGCC version:  gcc 12.2.0\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder)\n"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("text", [PROC, OPEN])
@pytest.mark.parametrize(
    ("version", "old"), [("535.54.03", True), ("575.64.05", True), ("580.65.06", False), ("600.1", False)]
)
def test_a_driver_older_than_this_torchs_cuda_needs_is_named_as_such(tmp_path, text, version, old):
    (tmp_path / "version").write_text(text.format(version))
    assert driver() == version
    said = why_no_gpu()
    assert version in said and ("too old" in said) == old and ("580 or newer" in said) == old


def test_the_driver_is_asked_of_nvidia_smi_too(tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 470.82.01\n")
    program.chmod(0o755)
    assert driver() == "470.82.01" and "too old" in why_no_gpu()
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert driver() == "" and why_no_gpu() == "no NVIDIA driver is found"


def test_torchs_own_words_of_an_old_driver_are_heeded(monkeypatch):
    def warns() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 12040). Please",
                      UserWarning, stacklevel=1)  # fmt: skip
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warns)
    said = why_no_gpu()
    assert "too old" in said and "CUDA 12.4" in said and "580 or newer" in said


def test_a_torch_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in why_no_gpu()


def test_hidden_gpus_are_said_to_be_hidden(tmp_path, monkeypatch):
    (tmp_path / "version").write_text(PROC.format("580.65.06"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in why_no_gpu()


def test_whoever_asks_for_a_gpu_that_is_not_there_is_told_why(tmp_path):
    (tmp_path / "version").write_text(PROC.format("535.54.03"))
    for ask in (lambda: placement(Wanted("cuda")), lambda: device_of("cuda:1")):
        with pytest.raises(ValueError, match=r"535\.54\.03, too old.*580 or newer"):
            ask()


def test_the_cpu_is_refused_where_it_was_not_asked_for_and_must_be():
    with pytest.raises(NoGPU, match="Next: --device cpu"):
        placement(Wanted("auto", unsaid=True))
    assert placement(Wanted("auto")).device == placement(Wanted("cpu")).device == "cpu"


def test_a_cpu_that_was_not_asked_for_is_told_of_with_the_reason(tmp_path):
    (tmp_path / "version").write_text(PROC.format("535.54.03"))
    assert "(cpu), float32" in said_of("auto", "auto") and "too old" in said_of("auto", "auto")
    assert "too old" not in said_of("cpu", "auto")


def test_without_a_sign_of_a_driver_torch_is_not_imported_to_look_for_a_gpu():
    code = "import sys; from mgie.io.devices import sees_gpu; print(sees_gpu(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["False", "False"] and sees_gpu() is False


def test_the_readme_names_the_driver_that_the_locks_torch_needs():
    root = Path(__file__).parents[2]
    (cuda,) = set(re.findall(r"^cuda-toolkit==(\d+\.\d+)", (root / "requirements.lock").read_text(), re.MULTILINE))
    said = " ".join((root / "bench" / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"CUDA {cuda}, which needs NVIDIA's driver {devices.LEAST_DRIVER[int(cuda.partition('.')[0])]} or newer" in said
    )
