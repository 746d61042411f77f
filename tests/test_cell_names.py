import nbformat
import pytest

from coursekit.teaching import catalogue, cell_names
from coursekit.teaching.catalogue import Lesson

PART_2 = "## Part 2 · At home"


@pytest.fixture
def lesson(tmp_path):
    """Make a lesson 03: strings are code cells, those that begin with # are texts; pairs name their exercise."""

    def make(*cells):
        made = []
        for one in cells:
            name, source = one if isinstance(one, tuple) else ("", one)
            if source.startswith("#"):
                made.append(nbformat.v4.new_markdown_cell(source))
                continue
            if name:
                made.append(nbformat.v4.new_markdown_cell("### Exercise 1 · A (5 minutes)"))
            made.append(nbformat.v4.new_code_cell(source, metadata={"exercise": name} if name else {}))
        path = tmp_path / "03_made.ipynb"
        catalogue.write(nbformat.v4.new_notebook(cells=made), path)
        return Lesson(path)

    return make


@pytest.mark.parametrize(
    ("code", "binds", "needs"),
    [
        ("y = x + 1", {"y"}, {"x"}),
        ("x = 1\ny = x", {"x", "y"}, set()),
        ("x = x + 1", {"x"}, {"x"}),
        ("x += 1", {"x"}, {"x"}),
        ("for i in range(n):\n    total = total + i", {"i", "total"}, {"n"}),
        ("squares = [k * k for k in numbers]", {"squares"}, {"numbers"}),
        ("def f(a):\n    b = a + c\n    return b", {"f"}, {"c"}),
        ("def f():\n    return g()\n\n\ndef g():\n    return 1", {"f", "g"}, set()),
        ("class A(B):\n    size = n", {"A"}, {"B", "n"}),
        ("from a import b as c\nimport d.e", {"c", "d"}, set()),
        ("with open(name) as file:\n    text = file.read()", {"file", "text"}, {"name"}),
        ("x, *rest = values\nx.y = 3\nrest[0] = z", {"x", "rest"}, {"values", "z"}),
        ("f = lambda a: a * scale", {"f"}, {"scale"}),
        ("print(max(values))", set(), {"values"}),
        ("%timeit x", set(), {"get_ipython"}),
    ],
)
def test_names_that_a_cell_binds_and_needs(lesson, code, binds, needs):
    (cell,) = cell_names.cells(lesson(code))
    assert (cell.binds, cell.needs) == (binds, needs)


def test_name_bound_again_is_told_with_the_cell_that_breaks(lesson):
    assert cell_names.rebound(lesson("x = 1", "y = x", "x = 2")) == [
        "cell 2 needs the `x` of cell 1, but cell 3 binds `x` again: give one of them another name"
    ]
    assert len(cell_names.rebound(lesson("x = 1", "x = x + 1"))) == 1  # each run adds one more


@pytest.mark.parametrize(
    "cells",
    [
        ("x = 1", "y = x"),
        ("for ax in axes: pass", "for ax in axes: pass"),  # no cell needs the other's
        ("x = 1\nprint(x)", "x = 2\nprint(x)"),
        (("softmax", "def softmax(a):\n    ..."), "softmax = ex.softmax.or_solution(softmax)", "softmax(1)"),
    ],
)
def test_name_that_harms_no_earlier_cell_may_be_bound_again(lesson, cells):
    assert cell_names.rebound(lesson(*cells)) == []


def test_part_1_may_need_nothing_that_only_part_2_makes(lesson):
    made = lesson("def f():\n    return x", PART_2, "x = 1\nf()")
    assert cell_names.needed_from_part_2(made) == [
        "cell 1 is in Part 1 and needs `x`, which cell 3 in Part 2 binds: move one of them, since Part 1 has to do "
        "without Part 2"
    ]
    assert cell_names.needed_from_part_2(lesson("x = 1", PART_2, "y = x")) == []


def test_section_of_part_2_may_need_nothing_of_another(lesson):
    made = lesson("a = 1", PART_2, "## 1 · One", "x = a", "y = x", "## 2 · Two", "z = x + a")
    (problem,) = cell_names.needed_from_other_sections(made)
    assert problem.startswith("cell 7 in “2 · Two” needs `x` of cell 4 in “1 · One”")


def test_half_of_the_answers_have_to_be_used(lesson):
    asked = [(name, f"def {name}(x):\n    ...") for name in ("softmax", "forward")]
    (problem,) = cell_names.unused_answers(lesson(*asked))
    assert problem.startswith("0 of 11 exercises in code are used")
    taken = "softmax = ex.softmax.or_solution(softmax)"
    unused = cell_names.unused_answers(lesson(*asked, taken))[0]
    assert "0 of 11" in unused  # taken, and left alone
    assert "1 of 11" in cell_names.unused_answers(lesson(*asked, taken, "softmax(logits)"))[0]
    assert "1 of 11" in cell_names.unused_answers(lesson(*asked, f"{taken}\nsoftmax(logits)"))[0]
    assert (
        "1 of 11"
        in cell_names.unused_answers(lesson(*asked, "net.apply(ex.softmax.or_solution(softmax))"))[0]
    )


def test_answers_are_not_shown_before_part_1_is_over(lesson):
    solution = lesson("1").exercises["confusion_matrix"].source()
    renamed = solution.replace("def confusion_matrix", "def ours")
    (printed,) = cell_names.answers_given_away(lesson("ex.softmax.solution()"))
    (written,) = cell_names.answers_given_away(lesson(renamed))
    assert printed.startswith("cell 1 shows the answer of exercise `softmax`")
    assert written.startswith("cell 1 shows the answer of exercise `confusion_matrix`")
    assert cell_names.answers_given_away(lesson(PART_2, renamed, "ex.softmax.solution()")) == []


def test_cells_that_train_are_told_from_quick_ones_through_what_they_call(lesson):
    made = lesson(
        "x = 1",
        "def learn():\n    loss.backward()",
        "def sweep():\n    return [learn() for _ in range(3)]",
        "results = sweep()",
        "history = train.fit(model, batches, epochs=3)",
        "print(results)",
    )
    assert cell_names.quick_cells(made) == [1, 2, 3, 6]
