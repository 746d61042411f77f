"""What authors and teachers use, and no student imports. It works in a checkout of the repository, with nbclient.

python -m coursekit.teaching.run_all           run every lesson, write notebooks, pages and an index to build/
python -m coursekit.teaching.record [LESSON]  re-run the lessons that are stale and store their outputs, stamped
python -m coursekit.teaching.rules [LESSON]   say which rules of a lesson are broken, in which cell, and what to do
python -m coursekit.teaching.solve LESSON     write lessons with their exercises solved
python -m coursekit.teaching.mark FOLDER      mark what a class has handed in, each notebook in a process of its own
python -m coursekit.teaching.release COURSE    put a lesson into a course of nbgrader
python -m coursekit.teaching.exam -o FOLDER   make an exam on new data; `exam score` scores what was handed in
python -m coursekit.teaching.link OWNER/NAME  point badges and setup cells at another repository
"""
