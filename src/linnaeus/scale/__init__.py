"""Where the computing happens: this machine's cores, and its accelerator."""
