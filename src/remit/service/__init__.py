"""One call, whole: take the snapshot, decide, stamp, journal, answer. And what a server is wired from."""
