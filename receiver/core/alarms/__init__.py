"""What somebody must see to: the rules of alarms, about providers and about ourselves."""
