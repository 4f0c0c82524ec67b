"""The public test kit: promise suites that every engine must pass, and a clock that tests turn by hand."""
