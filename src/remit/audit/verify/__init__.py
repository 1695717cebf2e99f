"""Whether the records are those that were written: chains walked again, held against heads and signatures."""
