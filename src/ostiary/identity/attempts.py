"""How much somebody who is not signed in may have us do: begin sign-ins, and fill the record with refused ones.

Counted for each client address, an IPv6 network of 64 bits being one, and for each store.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import structlog

from ostiary.oauth.limits import REMEMBERED, Window

if TYPE_CHECKING:
    from ostiary.control import Control

log = structlog.get_logger()

#: A whole office can be behind one address; and one address alone cannot fill what is kept of sign-ins under way.
BEGUN_A_MINUTE: Final = 600
RECORDED_A_MINUTE: Final = 60

_BEGUN: Final = Window(limit=BEGUN_A_MINUTE, seconds=60)
_RECORDED: Final = Window(limit=RECORDED_A_MINUTE, seconds=60)
#: How many refusals of a caller were not recorded since the last that was.
_UNTOLD: Final[OrderedDict[str, int]] = OrderedDict()
_TURN: Final = threading.Lock()


def may_begin(control: Control, client: str) -> bool:
    """Count a sign-in that begins, unless there were too many from this address. An unknown one (empty) may always."""
    return not client or _BEGUN.take(_caller(control, client), control.now())


def refusals_to_tell(control: Control, client: str) -> int | None:
    """Return how many refusals the next record stands for, or None if this one is not recorded but counted."""
    caller = _caller(control, client)
    told = _RECORDED.take(caller, control.now())
    with _TURN:
        if told:
            return _UNTOLD.pop(caller, 0) + 1
        untold = _UNTOLD.pop(caller, 0)
        _UNTOLD[caller] = untold + 1
        while len(_UNTOLD) > REMEMBERED:
            _UNTOLD.popitem(last=False)
    if not untold:
        log.warning("too many refused sign-ins: they are counted and no longer recorded one by one", client=client)
    return None


def _caller(control: Control, client: str) -> str:
    return f"{network(client)} {control.store.path.database}"


def network(client: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
