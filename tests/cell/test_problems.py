"""What a problem says of itself in its head."""

import json
import random

from eisbach.cell.problems import problem_answer, problem_of
from eisbach.kernel.errors import Corrupt, Overloaded


def test_a_500_is_whole_in_its_head_too_for_an_edge_that_lets_no_body_pass() -> None:
    answer = problem_answer(
        problem_of(Corrupt('b\u00fccher/1 is "torn"\nat 7'), rng=random.Random(1), request_id="r-1")
    )
    head = dict(answer.headers)["Eisbach-Problem"]

    assert json.loads(head) == json.loads(answer.body)
    assert head.isascii()
    assert head.isprintable()


def test_a_500_with_much_to_say_leaves_room_for_the_rest_of_the_head() -> None:
    answer = problem_answer(problem_of(Corrupt("\U0001f9ca" * 9000), rng=random.Random(1)))

    assert len(dict(answer.headers)["Eisbach-Problem"]) < 2048


def test_what_an_edge_lets_pass_as_it_is_does_not_say_it_twice() -> None:
    answer = problem_answer(problem_of(Overloaded("full"), rng=random.Random(1)))

    assert "Eisbach-Problem" not in dict(answer.headers)
