"""Who it is: people at their providers, and the keys of those who vouch for others."""
