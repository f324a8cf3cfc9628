"""What happened: reading the record that the data plane writes. Nothing here writes to it."""
