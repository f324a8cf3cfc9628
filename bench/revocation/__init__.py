"""How soon a revocation is felt, with ten thousand streams open."""
