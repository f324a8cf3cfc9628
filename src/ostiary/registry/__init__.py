"""Who is known: what the file declares and what was registered while running, who owns it, and whether it may act."""
