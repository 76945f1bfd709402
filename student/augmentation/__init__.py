"""What the trainer does to a batch, and which targets stay true under it."""
