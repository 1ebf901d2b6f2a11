"""From Python text to machine code in this process: options, code generation, the disk cache."""
