"""The protocol's model, every state of it, when spin and a compiler are installed."""

import pytest

from support.consensus_model import MISSING, check_model, model_mutants

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def test_no_state_of_the_model_breaks_the_chain_of_decided_values():
    found = check_model(4)
    assert found["errors"] == 0
    assert found["states"] > 10_000


# The others by ``scripts/check_consensus --spin 4``: each takes a compilation.
@pytest.mark.parametrize("mutant", ["HIDE_VALUE", "NO_PIGGYBACK", "SKIP_PREPARE"])
def test_a_mutant_of_the_model_breaks_it(mutant):
    assert mutant in model_mutants()
    assert check_model(4, mutant=mutant)["errors"] > 0
