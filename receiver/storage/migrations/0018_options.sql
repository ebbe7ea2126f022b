-- What the submission of one job carries beside its request: headers, and fields of the address.
ALTER TABLE submission ADD COLUMN options {blob};
