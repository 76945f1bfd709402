"""``aftersound-demo``: the whole way on synthetic speech."""
