-- Adds the chunks of large files and the patterns of files that only grow.

create table chunk_list (
    hash blob not null unique check (length(hash) = 32),  -- BLAKE3 of the file
    size integer not null,                                -- its bytes
    list blob not null,                                   -- 36 bytes for each chunk: length, BLAKE3
    stored integer not null                               -- seconds since the Unix epoch
) strict;

alter table pair add column append text not null default '[]';  -- JSON list of patterns
