-- What a person said about the commands that a project's files would run on this machine.

create table trust (
    workspace text primary key,                              -- absolute path of the project's folder
    hash      text not null check (length(hash) = 64),       -- BLAKE3 of those commands, in hexadecimal
    trusted   integer not null check (trusted between 0 and 1),
    said_at   integer not null                               -- seconds since the Unix epoch
) strict;
