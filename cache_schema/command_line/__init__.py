"""What every command is: options, errors, exit codes, signals."""
