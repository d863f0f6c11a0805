"""The graph that tf2onnx makes from a masked Keras LSTM (a Loop), on batches in input order.

`INPUT RUN OUT` embeds; `--convert RUN` makes RUN/default.onnx first.
"""

import sys

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 64


def convert(run):
    """Convert as the documentation of tf2onnx says."""
    import tensorflow as tf
    import tf2onnx
    from keras.models import load_model

    model = load_model(f"{run}/encoder.keras")
    num_features = model.inputs[0].shape[-1]
    signature = [tf.TensorSpec((None, None, num_features), tf.float32), tf.TensorSpec((None,), tf.int32)]

    @tf.function(input_signature=signature)
    def encoder(values, lengths):
        return model({"values": values, "lengths": lengths})

    graph, _ = tf2onnx.convert.from_function(encoder, signature, opset=17, output_path=f"{run}/default.onnx")
    print({node.op_type for node in graph.graph.node} & {"Loop", "LSTM"})


class Embed:
    """Embeds batches of rows; also what Ray Data maps."""

    def __init__(self, run, threads=0):
        """Open the graph; by default it takes all cores for each call, as most people leave it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(f"{run}/default.onnx", options)
        self.inputs = [node.name for node in self.session.get_inputs()]

    def __call__(self, batch):
        """Return id and embedding of a batch, a dict of columns."""
        features = sorted(name for name in batch if name.startswith("f"))
        lengths = np.array([len(row) for row in batch[features[0]]], dtype=np.int32)
        values = np.zeros((len(lengths), lengths.max(), len(features)), dtype=np.float32)
        for index, name in enumerate(features):
            for row, steps in enumerate(batch[name]):
                values[row, : len(steps), index] = steps
        self.padded = values.shape[0] * values.shape[1]
        (embedding,) = self.session.run(None, dict(zip(self.inputs, (values, lengths), strict=True)))
        return {"id": batch["id"], "embedding": embedding}


def main():
    """Embed a file."""
    source, run, out = sys.argv[1:]
    embed, writer, padded = Embed(run), None, 0
    for batch in pq.ParquetFile(source).iter_batches(BATCH):
        rows = embed({name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names})
        padded += embed.padded
        vectors = pa.FixedSizeListArray.from_arrays(rows["embedding"].reshape(-1), rows["embedding"].shape[1])
        table = pa.table({"id": batch["id"], "embedding": vectors})
        writer = writer or pq.ParquetWriter(out, table.schema)
        writer.write_table(table)
    writer.close()
    print(padded)


if __name__ == "__main__":
    if sys.argv[1] == "--convert":
        convert(sys.argv[2])
    else:
        main()
