"""Shadow evaluation: a candidate policy decides recorded questions again, beside the live policy."""
