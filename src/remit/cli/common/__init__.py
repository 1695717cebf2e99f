"""What several commands share: options, where answers come from, output."""
