"""The table of all training options in trainer/README.md, made from the command's own help.

After an option has changed, `uv run python tests/support/options_table.py` writes the table anew; a test compares them.
"""

import re
from pathlib import Path

import click

from seqembed.runner.cli import main
from seqembed.trainer.config.options import SECTIONS

README = Path(__file__).parents[2] / "trainer" / "README.md"
HEADING = "## Every option\n"


def options_table() -> str:
    """Return one Markdown table per section of the help: option, meaning, default."""
    command = main.get_command(click.Context(main), "train")
    assert command is not None
    context = click.Context(command)
    lines = []
    for title, options in SECTIONS.items():
        lines += [f"| {title} | | default |", "|---|---|---|"]
        for option in options:
            record = option.get_help_record(context)
            assert record is not None, option.name
            found = re.fullmatch(r"(.*?)(?:\s*\[(.*)\])?", record[1], flags=re.DOTALL)
            assert found is not None
            extra = found[2] or ""
            default = re.sub(r"; [\dx.<>=]+$", "", extra.removeprefix("default: ")) if "default: " in extra else ""
            cells = [f"`{record[0]}`", found[1], default.removeprefix("(").removesuffix(")")]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def documented() -> tuple[str, str, str]:
    """Return the README up to the table, the table, and what follows it."""
    before, rest = README.read_text(encoding="utf-8").split(HEADING)
    introduction, table = rest.split("\n| ", 1)
    table, _, after = table.partition("\n## ")
    return before + HEADING + introduction + "\n", "| " + table, "\n## " + after if after else ""


if __name__ == "__main__":
    before, _, after = documented()
    README.write_text(before + options_table().rstrip("\n") + "\n" + after, encoding="utf-8")
