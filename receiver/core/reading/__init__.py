"""What a provider's message says: its document, read as the description of the API says."""
