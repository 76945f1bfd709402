"""``train-student``: objective, loop, schedule of a training."""
