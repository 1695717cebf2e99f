"""A candidate policy beside the live one, and recorded questions decided again."""
