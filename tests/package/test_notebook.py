"""The quickstart notebook runs from top to bottom, offline, and shows tables and a figure."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook needs the extra [notebook]")
nbclient = pytest.importorskip("nbclient", reason="the notebook needs the extra [notebook]")
pytest.importorskip("ipykernel", reason="the notebook needs the extra [notebook]")
pytest.importorskip("matplotlib", reason="the notebook needs the extra [notebook]")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_outputs_are_stripped():
    """The notebook is kept without outputs and execution counts."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert outputs_of(notebook) == []
    assert all(cell.get("execution_count") is None for cell in notebook.cells)


def test_quickstart(tmp_path):
    """Every cell runs without errors or output on stderr; tables and a figure are shown."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises CellExecutionError with the cell's traceback
    outputs = outputs_of(notebook)
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    said = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert [text for text in said if "IProgress not found" not in text] == []  # tqdm's, where ipywidgets is absent
    assert kinds.count("image/png") == 1
    assert kinds.count("text/html") >= 4  # frames
    text = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert "half_spread 4.0: net" in text
