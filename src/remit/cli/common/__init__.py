"""What several commands share: options, backends, output."""
