"""What becomes of a job: its transitions, what a callback or a look does to it, and when it is looked at."""
