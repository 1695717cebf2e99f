"""Reading the audit: filters, pages, counts, the change feed and the history of revisions."""
