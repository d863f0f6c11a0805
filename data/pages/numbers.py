"""Numbers as a reader wants them: three significant digits, thousands separators, shares in percent."""

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LARGE, _SMALL = 1e7, 1e-3  # beyond these, powers of ten are easier to read than zeros


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with some significant digits; integers below ten million stay exact.

    Args:
        value: None or NaN gives a dash.
        digits: Significant digits of numbers that are not integers.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size < _LARGE and float(value).is_integer():
        return _signed(f"{value:,.0f}")
    if size >= _LARGE or size < _SMALL:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_signed(mantissa)} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    rounded = abs(float(f"{value:.{digits - 1}e}"))  # 0.9996 has as many decimals as 1
    decimals = max(0, digits - 1 - math.floor(math.log10(rounded)))
    return _signed(f"{value:,.{decimals}f}")


def percent(share: float | None) -> str:
    """Return a share in percent, whole from 10 % to 95 %; what is not quite nothing or all stays visible."""
    if share is None or math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    if abs(share) < 0.0995 or 0.95 < share < 1:
        return _signed(f"{share:.1%}").replace(".0%", "%")
    return _signed(f"{share:.0%}")


def seconds(value: float) -> str:
    """Return a duration: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def data_size(num_bytes: float) -> str:
    """Return a size in units of 1,024 bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{number(num_bytes)} {unit}"
        num_bytes /= 1024
    return f"{number(num_bytes)} TiB"


def shortened(text: object, max_length: int = 40) -> str:
    """Return a user's text on one line and of limited length, cut in the middle: names often differ at their ends."""
    line = " ".join(str(text).split())
    if len(line) <= max_length:
        return line
    tail = max_length // 3
    return f"{line[: max_length - 1 - tail]}…{line[-tail:]}"


def _signed(text: str) -> str:
    return text.replace("-", "−")
