"""What a user would write or install instead; each is run as a script by its own interpreter."""
