"""Who is let in: sessions of browsers, login by an OpenID provider, and the one-time address of a shared machine."""
