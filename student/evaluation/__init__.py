"""``evaluate-student``: scores, reports, attention of a trained student."""
