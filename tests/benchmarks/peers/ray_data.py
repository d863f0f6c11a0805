"""Ray Data's `map_batches` around the default graph, one actor a core. Arguments: INPUT, RUN, OUT."""

import os
import sys

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # this environment is the workers', whoever started the comparison

import ray
from default_onnx import BATCH, Embed

source, run, out = sys.argv[1:]
ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
ray.data.DataContext.get_current().enable_progress_bars = False
ray.data.DataContext.get_current().execution_options.preserve_order = True
cores = os.cpu_count()
rows = ray.data.read_parquet(source)
vectors = rows.map_batches(Embed, fn_constructor_args=(run, 1), batch_size=BATCH, concurrency=cores, num_cpus=0.5)
vectors.write_parquet(out)
