"""``compare-students``: a ladder of distillation over caches, students and seeds, in one command."""
