"""From a file, or a recording inside a container, to samples."""
