"""Checks that several groups of options share."""

from seqembed.data.errors import UsageError


def one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        option: Its name on the command line, without dashes in front.
        value: As given.
        choices: Every valid value.

    Raises:
        UsageError: Names the choices.
    """
    if value not in choices:
        raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")


def at_least(option: str, value: int, minimum: int) -> None:
    """Refuse a number below its minimum; arguments as for `one_of`.

    Raises:
        UsageError: Names the minimum.
    """
    if value < minimum:
        raise UsageError(f"--{option} must be at least {minimum}; was {value}.")
