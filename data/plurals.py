"""Numbers with their nouns and verbs, in messages."""


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Return ``1 row``, ``2 rows``, ``1,000 rows``.

    Args:
        number: How many.
        noun: For one.
        nouns: For any other number, where it is not `noun` and an s.
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def verb(number: int, of_one: str, of_several: str) -> str:
    """Return the verb that goes with a number: ``1 of 3 files lacks it``, ``2 of 3 files lack it``.

    Args:
        number: How many.
        of_one: For one, such as ``is``.
        of_several: For any other number, such as ``are``.
    """
    return of_one if number == 1 else of_several
