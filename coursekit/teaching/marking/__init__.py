"""Mark what a class has handed in: foreign code, run apart, its results judged outside of it.

`handed_in` finds the submissions, `answers` takes the exercises' cells out of one, `runner` runs them in a process that
`sandbox` shuts in, `marker` judges what comes out, `pages` writes the marks. The command is `coursekit.teaching.mark`.
How foreign code is run does not depend on what it is: `process` asks, `apart` serves. The exam uses them, too.
"""
