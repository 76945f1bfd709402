"""How signals are stored in fewer bytes."""
