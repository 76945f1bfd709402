"""``precompute-teacher``: plan, run and check the teacher's one pass."""
