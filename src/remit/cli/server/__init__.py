"""Commands that run a server or ask one about itself."""
