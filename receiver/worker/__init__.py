"""The worker: claims what is due and hands it to the step that does it."""
