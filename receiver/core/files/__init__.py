"""Files that a result links to: where the links stand, when they run out, what an answer says of its file."""
