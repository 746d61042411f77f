"""Notebooks of a few cells, for the tests of the tools."""

import nbformat

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def write(path, *cells, tags=()):
    """Write a notebook: strings are code cells, and the tags go to the last one."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1 · A lesson", id="title")])
    for number, source in enumerate(cells):
        notebook.cells.append(
            nbformat.v4.new_code_cell(source, id=f"c{number}", metadata={"tags": list(tags)})
        )
    path.parent.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, path)
    return path


def outputs(notebook) -> str:
    return str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
