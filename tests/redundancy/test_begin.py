"""A command that is interrupted while it still loads says so, and nothing else."""

import signal
import subprocess
import sys

import pytest

from redundancy.errors import ExitCode
from redundancy.terminal import from_os_error

# Stands for a module that takes long to load: it says that it does, and goes on.
_SLOW = """\
import sys, time
print("loading", flush=True)
time.sleep(30)
def main():
    return 0
"""


@pytest.mark.real
def test_an_interrupt_while_a_command_loads_is_no_traceback(tmp_path):
    (tmp_path / "slow_command.py").write_text(_SLOW)
    code = "import sys; from redundancy.begin import begin; sys.exit(begin('slow_command'))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (ExitCode.INTERRUPTED, b"interrupted\n")


@pytest.mark.real
@pytest.mark.parametrize("module", ["redundancy", "smart_client", "storage_server"])
def test_every_command_begins_there(module):
    code = (
        "import sys\n"
        f"from {module}.__main__ import main\n"
        f"assert '{module}.cli' not in sys.modules\n"
        "sys.argv = ['x', '--version']\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_without_words_is_told_by_its_kind():
    assert from_os_error(ProcessLookupError()).message == "ProcessLookupError"
    assert from_os_error(TimeoutError()).message == "TimeoutError"
