"""Outbound: everything that is asked of others."""
