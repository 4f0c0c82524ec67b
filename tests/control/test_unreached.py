"""What control says of a cell that it cannot reach is for people."""

import contextlib
import socket

import pytest

from eisbach.cell.move_http import HttpCells
from eisbach.cell.moving import StandAside
from eisbach.cell.unreached import unreached
from eisbach.kernel.errors import Unavailable


async def test_a_cell_that_is_down_is_said_to_refuse_and_not_in_a_librarys_words() -> None:
    """It said: ClientConnectorError: Cannot connect to host … ssl:default [Connect call failed ('127.0.0.1', …)]."""
    with contextlib.closing(socket.socket()) as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        cells = HttpCells({"c1": address}, token="t")
        try:
            with pytest.raises(Unavailable) as found:
                await cells.vectors("c1", StandAside(slot="eu/de/main/0", epoch=0, peer=""))
        finally:
            await cells.aclose()

    assert str(found.value) == f"http://{address}/moves/vectors cannot be reached: connection refused"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (OSError(), "OSError"),
        (socket.gaierror(-2, "Name or service not known"), "[Errno -2] Name or service not known"),
    ],
)
def test_what_a_library_raises_is_said_in_words(error: Exception, said: str) -> None:
    assert unreached(error) == said
