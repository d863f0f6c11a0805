"""The message about a row that is not a valid sequence: the same words wherever one ends a job."""

from seqembed.data.decode.ids import quoted_id
from seqembed.data.errors import BadRowError
from seqembed.data.sequences import BadRow


def bad_row_error(name: str, bad: BadRow, remedy: str) -> BadRowError:
    """Return the error for a row: where it is, what is wrong, and what to do.

    Args:
        name: Name of the input.
        bad: The row.
        remedy: A sentence that ends the message.
    """
    rows = f"row {bad.row}" if bad.num_rows == 1 else f"rows {bad.row} to {bad.row + bad.num_rows - 1}"
    return BadRowError(f"{name}: {rows} (id {quoted_id(bad.id)}): {bad.reason}. {remedy}")
