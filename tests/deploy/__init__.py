"""What is promised about the files in deploy/ and about .ci/run, where no container engine is at hand."""
