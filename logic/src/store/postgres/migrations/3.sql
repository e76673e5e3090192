-- Written by servers that look whether the database can be written, each in a slot of its own.
CREATE TABLE probe (
    slot bigint PRIMARY KEY,
    at   bigint NOT NULL
);
