"""Fill a template with Jinja2: every text is escaped, and a name that the template does not know is an error."""

from typing import Any

import jinja2

MAX_BYTES = 1_000_000


def render(template: str, package: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: File name.
        package: Name of the package whose folder ``templates`` holds it, as in ``seqembed.trainer.page``.
        values: Names of the template.
    """
    loaders = [jinja2.PackageLoader(package), jinja2.PackageLoader("seqembed.data.pages")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
