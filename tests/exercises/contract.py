"""What holds for every exercise of every lesson; `class TestLessonNN(Contract)` runs it for one of them.

`right` gives at least two answers for each exercise of code, written otherwise than the solution. `equivalent` lists
the changes to solutions, as `mutants` names them, that do not change what they do.
"""

import ast
import builtins
import copy
import textwrap

from coursekit.checks import CodeExercise, Quiz


def code_exercises(lesson):
    return [one for one in lesson.lesson.exercises.values() if isinstance(one, CodeExercise)]


def mutants(exercise: CodeExercise) -> dict[str, object]:
    """Return the solution with one constant or operation changed, by a description of the change."""
    tree = ast.parse(exercise.source())
    swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Gt: ast.LtE}
    found = {}
    for number, node in enumerate(ast.walk(tree)):
        for field, value in ast.iter_fields(node):
            if isinstance(value, int | float) and not isinstance(value, bool) and field == "value":
                change = value + 1, f"{value} -> {value + 1}"
            elif isinstance(value, bool):
                change = not value, f"{value} -> {not value}"
            elif type(value) in swapped:
                other = swapped[type(value)]
                change = other(), f"{type(value).__name__} -> {other.__name__}"
            elif field == "ops" and type(value[0]) in swapped:
                change = [swapped[type(value[0])]()], type(value[0]).__name__
            else:
                continue
            mutated = copy.deepcopy(tree)
            target = list(ast.walk(mutated))[number]
            setattr(target, field, change[0])
            line = getattr(node, "lineno", 0) or next(
                (child.lineno for child in ast.walk(node) if hasattr(child, "lineno")), 0
            )
            found[f"line {line}: {change[1]}"] = defined(ast.unparse(mutated), exercise)
    return found


def defined(code: str, exercise: CodeExercise) -> object:
    scope = {**vars(builtins), **vars(__import__(exercise.reference.__module__, fromlist=["x"]))}
    exec(compile(code, "<answer>", "exec"), scope)
    return scope[exercise.name]


class Contract:
    lesson = None
    right: dict = {}  # noqa: RUF012
    equivalent: dict = {}  # noqa: RUF012

    def pytest_generate_tests(self, metafunc):
        exercises = self.lesson.lesson.exercises
        for name, values in {
            "exercise": list(exercises.values()),
            "code": code_exercises(self.lesson),
            "quiz": [one for one in exercises.values() if isinstance(one, Quiz)],
        }.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=lambda one: one.name)

    @staticmethod
    def with_helpers(code, attempt) -> tuple:
        return (*(helper.reference for helper in code.helpers), attempt)

    def judge(self, code, attempt):
        return code(*self.with_helpers(code, attempt))

    def test_exercise_is_remembered_under_its_lesson(self, exercise):
        assert exercise.lesson == f"Lesson {int(self.lesson.__name__[-2:])}"

    def test_exercise_knows_three_mistakes_and_two_hints(self, exercise):
        assert len(set(exercise.sentences)) >= 3
        assert len(set(exercise.all_hints)) >= 2

    def test_code_has_two_right_answers_in_these_tests(self, code):
        assert len(self.right.get(code.name, [])) >= 2

    def test_solution_is_correct(self, code):
        verdict = self.judge(code, code.reference)
        assert verdict.status == "correct", verdict

    def test_printed_solution_runs_and_is_correct(self, code, capsys):
        code.solution()
        verdict = self.judge(code, defined(capsys.readouterr().out, code))
        assert verdict.status == "correct", verdict

    def test_right_answers_written_otherwise_are_correct(self, code):
        for attempt in self.right[code.name]:
            verdict = self.judge(code, attempt)
            assert verdict.status == "correct", verdict

    def test_every_mistake_is_told_its_own_sentence(self, code):
        for mistake in code.known:
            verdict = self.judge(code, mistake.attempt)
            assert verdict.status in ("wrong", "raised")
            assert mistake.sentence in verdict.message, f"{mistake.sentence}\n\nbut said was\n{verdict}"

    def test_changed_solutions_are_rejected(self, code):
        passed = {
            change
            for change, attempt in mutants(code).items()
            if self.judge(code, attempt).status == "correct"
        }
        assert passed == set(self.equivalent.get(code.name, ()))

    def test_empty_answer_is_not_attempted(self, code):
        stub = code.source().splitlines()
        if stub[0].startswith("class"):
            empty = "\n".join([stub[0], "    def forward(self, x): ..."])
        else:
            empty = "\n".join([stub[0], textwrap.indent('"""Doc."""\n...', "    ")])
        assert self.judge(code, defined(empty, code)).status == "not attempted"

    def test_quiz_accepts_its_answers_and_gives_a_reason_against_every_other(self, quiz):
        for name, question in quiz.questions.items():
            assert question.mark(question.answer) == (True, question.reason)
            for wrong, reason in question.wrong.items():
                assert question.mark(wrong) == (False, reason), name
            if isinstance(question.answer, str):
                letters = sorted([question.answer, *question.wrong])
                assert letters == list("abcdefgh"[: len(letters)])

    def test_quiz_unanswered_is_not_attempted_and_solved_is_correct(self, quiz):
        ex = self.lesson  # noqa: F841 - the evaluated code calls ex.NAME(...)
        blank = eval(f"ex.{quiz.name}({', '.join(quiz.arguments)})".replace(f"{quiz.name}=...", "..."))
        assert blank.status == "not attempted"
        assert eval(quiz.source()).status == "correct"

    def test_every_sentence_is_whole_and_short(self, exercise):
        for text in [*exercise.sentences, *exercise.all_hints]:
            assert text[-1] in ".?)`", text
            assert len(text) <= 260, text
