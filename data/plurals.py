"""Numbers with their nouns, in messages."""


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Return ``1 row``, ``2 rows``, ``1,000 rows``.

    Args:
        number: How many.
        noun: For one.
        nouns: For any other number, where it is not `noun` and an s.
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
