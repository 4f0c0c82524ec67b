"""What a dead letter quotes of an exception."""

from eisbach.hub.failures import stack_of


def test_an_exception_with_a_very_long_chain_has_a_stack_that_ends_with_the_last_of_it() -> None:
    error = ValueError("first")
    for number in range(3_000):
        after = ValueError(f"try {number}")
        after.__context__ = error
        error = after

    assert stack_of(error).endswith("ValueError: try 2999\n")
    assert len(stack_of(error)) <= 4_000
