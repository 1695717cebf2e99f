"""Child processes: how they start, what travels between them and their parent, and how they end."""
