"""Who calls: maps credentials to principals by the file that the setting `identities` names."""
