"""Check the input files of a planned run against the model, before the first row is read."""

from seqembed.data.contract import ModelContract
from seqembed.data.errors import UsageError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.schema.check import check_schema
from seqembed.runner.engines.rows import output_schema
from seqembed.runner.engines.scores import outputs_of_run
from seqembed.runner.job.open_files import OpenFiles
from seqembed.runner.job.plan import RunPlan
from seqembed.runner.options import RunOptions


def check_inputs(
    plan: RunPlan, contract: ModelContract, options: RunOptions, open_files: OpenFiles | None = None
) -> int:
    """Check every file to be read against the contract, before the first row is read.

    Args:
        plan: The plan, with the files to read.
        contract: Contract of the model.
        options: Options of the run, with the columns to keep.
        open_files: Files that are already open; they are closed.

    Returns:
        The number of rows to read.

    Raises:
        InputError: A file does not match the contract, or the events of an id are in several files.
        UsageError: A kept column is already in the output.
    """
    names = [contract.schema.id, *options.keep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--keep {twice}: that column is in the output already. Omit it from --keep.")
    outputs = outputs_of_run(contract, score=options.score)
    for part in {part.file.location: part for part in plan.to_make}.values():
        if part.schema is not None:
            check_schema(part.file, part.schema, contract.schema, options.keep, trained=True, num_rows=part.num_rows)
            output_schema(part.schema, part.file.name, contract, outputs, options)
    skip = options.on_bad_file == "skip"
    files = {part.file.location: part.file for part in plan.checked}
    divisions: dict[str, list[range]] = {}
    for part in plan.checked:
        if part.row_groups is not None:
            divisions.setdefault(part.file.location, []).append(part.row_groups)
    take = None if open_files is None else open_files.take
    refuse_ids_in_several_files(
        list(files.values()), contract.schema, take=take, skip_bad_files=skip, keep=options.keep, slices=divisions
    )
    if open_files is not None:
        open_files.close()
    return sum(part.num_rows for part in plan.to_make)
