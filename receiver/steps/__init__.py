"""The steps of a job's way: one file and one verb each. They do not know one another; they meet in the store."""
