-- How a file began that was read, by which one that replaced it is known: '1024:' and the hash of so many bytes.
ALTER TABLE progress ADD COLUMN beginning TEXT;
