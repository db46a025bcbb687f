"""requirements/install.py: the environment is made once, made anew when it is broken, and never half trusted."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from django.conf import settings

SCRIPT: Path = settings.BASE_DIR / "requirements" / "install.py"


@pytest.fixture
def install(tmp_path: Path) -> ModuleType:
    """The script, believing that the project is an empty folder with two empty locks."""
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LOCKS, module.VENV = tmp_path, tmp_path / ".venv"
    module.PYTHON, module.BEGUN = module.VENV / "bin" / "python", module.VENV / "install-begun"
    for name in ("run", "dev"):
        (tmp_path / f"{name}.txt").write_text("# nothing\n")
    return module


def pretend_environment(install: ModuleType) -> None:
    install.PYTHON.parent.mkdir(parents=True)
    install.PYTHON.symlink_to(sys.executable)


def test_an_old_python_is_refused_with_a_way_out(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "OLDEST", (99, 0))
    with pytest.raises(SystemExit) as ended:
        install.main("run")
    assert ended.value.code == 1
    assert "make PYTHON=" in capsys.readouterr().err
    assert not install.VENV.exists()


def test_an_environment_whose_install_was_broken_off_is_not_trusted(install: ModuleType) -> None:
    pretend_environment(install)
    assert install.sound()
    install.BEGUN.touch()
    assert not install.sound()


def test_an_environment_whose_python_is_gone_is_not_trusted(install: ModuleType) -> None:
    pretend_environment(install)
    install.PYTHON.unlink()
    install.PYTHON.symlink_to("/nonexistent/python")
    assert not install.sound()


def test_an_environment_is_made_once_and_installed_again_when_its_lock_changes(install: ModuleType) -> None:
    pretend_environment(install)
    installed: list[str] = []

    def note(wanted: str, **_: object) -> None:
        installed.append(wanted)
        for name in install.COVERS[wanted]:
            install.stamp_file(name).write_text(install.digest_of(name))

    install.install = note
    for wanted in ("dev", "dev", "run"):
        install.main(wanted)
    assert installed == ["dev"], "dev covers run"
    os.utime(install.lock_file("run"), (0, 0))
    install.main("run")
    assert installed == ["dev"], "age says nothing"
    install.lock_file("run").write_text("# something\n")
    install.main("run")
    assert installed == ["dev", "run"]


def test_a_failed_install_says_so_and_leaves_no_stamp(install: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    pretend_environment(install)
    (install.LOCKS / "run.txt").write_text("nothing-without-a-hash==1.0\n")
    with pytest.raises(SystemExit):
        install.main("run")
    assert "The install failed" in capfd.readouterr().err
    assert not install.stamp_of("run")
    assert not install.sound(), "what it left is not trusted"
