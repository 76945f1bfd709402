"""``finetune-teacher``: adapt a pretrained model to a corpus."""
