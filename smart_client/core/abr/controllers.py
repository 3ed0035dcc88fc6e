"""The rate controllers by name."""

from collections.abc import Callable

from smart_client.core.abr.bola import Bola, Dynamic
from smart_client.core.abr.contract import RateController
from smart_client.core.abr.predictive import Mpc, RobustMpc
from smart_client.core.abr.simple import BufferBased, BufferBasedWithStart, Fixed, RateBased
from smart_client.errors import InvalidRequest

CONTROLLERS: dict[str, Callable[[], RateController]] = {
    Fixed.name: Fixed,
    RateBased.name: RateBased,
    BufferBased.name: BufferBased,
    BufferBasedWithStart.name: BufferBasedWithStart,
    Bola.name: Bola,
    Dynamic.name: Dynamic,
    Mpc.name: Mpc,
    RobustMpc.name: RobustMpc,
}

# By scripts/bench_abr (figures in DESIGN.md): as good as DYNAMIC with fewer switches and stalls;
# RobustMPC is better where capacity is plentiful and far worse where it is not.
DEFAULT_CONTROLLER = Bola.name


def make_controller(name: str = DEFAULT_CONTROLLER) -> RateController:
    """Return a new controller, or raise ``InvalidRequest`` listing the names."""
    make = CONTROLLERS.get(name)
    if make is None:
        raise InvalidRequest(
            f"no rate controller '{name}'", hint=f"one of: {', '.join(CONTROLLERS)}"
        )
    return make()
