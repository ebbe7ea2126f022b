"""Conversations with a provider: what is asked, in which order, and what each answer means."""
