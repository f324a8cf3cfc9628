"""The server behind: begins every stream that it is asked for and then keeps silent; answers calls.

`python -m bench.revocation.upstream` prints its port.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from typing import TYPE_CHECKING

from tests.kit.upstream import Upstream, result_for

if TYPE_CHECKING:
    from tests.kit.upstream import Seen, Talk


async def serve(seen: Seen, talk: Talk) -> None:
    """Answer one request."""
    if seen.rpc == "subscriptions/listen":
        await talk.stream()
        await talk.until_left()
    elif (answer := result_for(seen)) is None:
        await talk.whole(b"", status=202)
    else:
        await talk.json(answer)


def main() -> None:
    """Serve until standard input ends."""
    with Upstream() as upstream:
        upstream.script = serve
        upstream.seen = deque(maxlen=1)  # type: ignore[assignment]  # nobody looks, and it must not grow
        print(upstream.address[1], flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
