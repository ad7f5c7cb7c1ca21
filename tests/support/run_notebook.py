"""Executes a notebook on the Deno kernel and prints the outputs of its cells; fails if a cell throws.

Deno's kernel sends outputs and the idle status on different tasks, so an output may come a little after idle; after
each cell we wait a moment for such latecomers.
"""
import json
import sys
import time
from queue import Empty

import nbformat
from nbclient import NotebookClient


class PatientClient(NotebookClient):
    async def async_execute_cell(self, cell, cell_index, **options):
        result = await super().async_execute_cell(cell, cell_index, **options)
        end = time.time() + 0.5
        while cell.cell_type == "code" and time.time() < end:
            try:
                message = await self.kc.get_iopub_msg(timeout=0.05)
            except Empty:
                continue
            self.process_message(message, cell, cell_index)
        return result


notebook = nbformat.read(sys.argv[1], as_version=4)
PatientClient(notebook, kernel_name="deno", timeout=120).execute()
print(json.dumps([cell.get("outputs", []) for cell in notebook.cells]))
