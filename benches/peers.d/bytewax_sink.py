"""One file of rows, written by the only worker of a Bytewax flow."""

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from rows import HEADER


class RowsFile(DynamicSink):
    """The file at a path."""

    def __init__(self, path):
        self.path = path

    def build(self, step_id, worker_index, worker_count):
        return Part(self.path)


class Part(StatelessSinkPartition):
    """The open file."""

    def __init__(self, path):
        self.file = open(path, "w", buffering=1 << 20)
        self.file.write(HEADER)

    def write_batch(self, items):
        self.file.writelines(items)

    def close(self):
        self.file.close()
