"""Programs that try real servers, ours and others. Run them in a checkout: `python -m tests.tools.NAME`."""
