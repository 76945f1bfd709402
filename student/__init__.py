"""The reader: students, losses and the trainer that streams a cache."""
