"""The tables of a provider description: what one API says of itself, validated."""
