"""Everything that is addressed to a person, one file per feature."""
