-- The file that a batch is made of, as its provider calls it: it is uploaded once, however often the job is put off.
ALTER TABLE submission ADD COLUMN uploaded {text};
