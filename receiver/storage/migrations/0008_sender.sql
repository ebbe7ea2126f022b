-- Who sent a callback: an IP address. Of those that came before this was kept it is unknown.
ALTER TABLE callback ADD COLUMN sender {text};
