"""From a change on disk to a compiled tenant: watch, scan, and the child process that builds."""
