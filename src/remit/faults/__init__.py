"""Real servers under load, and what may befall them: what `remit audit faults` does, and the tests of the audit."""
