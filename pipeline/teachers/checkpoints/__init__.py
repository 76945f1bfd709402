"""Model folders of transformers: what is read of them, and its checks."""
