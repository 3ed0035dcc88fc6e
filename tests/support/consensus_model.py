"""The model of the protocol, explored exhaustively by spin: ``storage_server/consensus``."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

MODEL = Path(__file__).parents[2] / "storage_server" / "consensus" / "chunkpaxos.pml"
MISSING = [name for name in ("spin", "gcc") if shutil.which(name) is None]


def model_mutants() -> list[str]:
    """Return what can be made wrong in the model."""
    return sorted(set(re.findall(r"#if(?:n)?def MUTANT_(\w+)", MODEL.read_text())))


def check_model(ballots: int, *, mutant: str = "", memory_mb: int = 6000) -> dict[str, float]:
    """Explore the model; return the number of errors and of states, and the seconds it took."""
    with tempfile.TemporaryDirectory() as directory:

        def run(*words: str) -> str:
            done = subprocess.run(
                words, cwd=directory, capture_output=True, text=True, timeout=7200, check=True
            )
            return done.stdout

        defines = [f"-DNB={ballots}", *([f"-DMUTANT_{mutant}"] if mutant else [])]
        run("spin", "-a", *defines, str(MODEL))
        # A small model is explored sooner than it is optimised.
        optimise = "-O2" if ballots > 4 else "-O0"
        words = [optimise, "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={memory_mb}"]
        options = ["-m100000"]
        if ballots > 5:
            # 98 million states take 11 GB as they are and 4 GB by hash (32 bits, and 27 of the
            # slot): 10^16 / 2 pairs over 2^59, so 0.01 are expected to be taken for another.
            words.append("-DHC4")
            options.append("-w27")
        run("gcc", *words, "-o", "pan", "pan.c")
        text = run("./pan", *options)
    if "Search not completed" in text and "errors: 0" in text:
        raise RuntimeError(text)
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"(\d+(?:\.\d+e\+\d+)?) states, stored", text)
    took = re.search(r"elapsed time ([\d.]+) seconds", text)
    if errors is None or states is None:
        raise RuntimeError(text)
    seconds = float(took[1]) if took else 0.0
    return {"errors": int(errors[1]), "states": int(float(states[1])), "seconds": seconds}
