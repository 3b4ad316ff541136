"""Exceptions of a chain, and the user's line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.jobs.doctor.tracebacks import choose_block, dumped_place, error_blocks

CHAIN = """Traceback (most recent call last):
  File "/w/a/simulate_job/app_a/custom/model_def.py", line 12, in fl_train_model
    x = undefined_name
        ^^^^^^^^^^^^^^
NameError: name 'undefined_name' is not defined

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/torch/x.py", line 99, in run
    raise RuntimeError("task failed")
RuntimeError: task failed
""".splitlines()
STACK = """Stack (most recent call first):
  File "lib/python3.11/threading.py", line 3 in wait
  File "model_def.py", line 27 in fl_train_model
  File "rt_flare/core/user_code.py", line 92 in _call
""".splitlines()


def test_the_first_exception_of_a_chain_comes_first() -> None:
    """X6"""
    blocks = error_blocks(CHAIN)
    assert [block.error for block in blocks] == [
        "NameError: name 'undefined_name' is not defined",
        "RuntimeError: task failed",
    ]
    block, place = choose_block(blocks)
    assert block is blocks[0]
    assert place == ("/w/a/simulate_job/app_a/custom/model_def.py", 12)


def test_an_indented_traceback_is_the_same() -> None:
    """X6: as a site's report stands in the server's log."""
    assert error_blocks([f"  {line}" for line in CHAIN]) == error_blocks(CHAIN)


def test_a_stack_gives_the_innermost_line_of_the_user() -> None:
    """X6: of user code that hung."""
    assert dumped_place(STACK) == ("model_def.py", 27)


def test_code_of_libraries_is_not_the_users() -> None:
    """X6: relative paths included, as a site's report has them."""
    lines = [line.replace("model_def.py", "site-packages/torch/serialization.py") for line in STACK]
    assert dumped_place(lines) is None


@given(
    st.lists(st.sampled_from([*CHAIN, *STACK, "", "  ", "Traceback (most recent call last):"]) | st.text(), max_size=40)
)
def test_any_lines_can_be_read(lines: list[str]) -> None:
    """X6"""
    blocks = error_blocks(lines)
    assert all(block.error for block in blocks)
    dumped_place(lines)
